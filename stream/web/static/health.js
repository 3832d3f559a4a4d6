// Shows the parts of the lines, and what went wrong in them. Texts from outside become text nodes, never markup.

const COLUMNS = [
  ["fps", "fps"],
  ["process_ms", "ms/item"],
  ["age_ms", "age ms"],
  ["waiting", "waiting"],
  ["restarts", "restarts"],
  ["errors", "errors"],
  ["memory_mb", "MB"],
];

/** An element with a class and a text. */
export function element(kind, text = "", className = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Show `state.lines` and `state.events`. */
export function showHealth(state) {
  const bad = state.lines.filter((line) => line.trouble);
  const summary = document.getElementById("health-summary");
  summary.textContent = summarise(state.lines, bad);
  summary.className = bad.length ? "bad" : "good";
  document.getElementById("lines").replaceChildren(...state.lines.map(lineTable));
  const events = state.events.map(eventItem);
  document.getElementById("events").replaceChildren(...(events.length ? events : [element("li", "none")]));
}

function summarise(lines, bad) {
  if (!lines.length) return "— no line of yours runs on this machine";
  if (bad.length) return `— ${bad.map((line) => `${line.name}: ${line.trouble}`).join("; ")}`;
  return `— ${lines.length === 1 ? "the line answers" : `all ${lines.length} lines answer`}`;
}

function lineTable(line) {
  const box = element("div", "", "scroll");
  const table = document.createElement("table");
  table.append(element("caption", line.name));
  const head = table.createTHead().insertRow();
  for (const title of ["part", "state", ...COLUMNS.map((column) => column[1]), "dropped", "status"])
    head.append(element("th", title));
  const body = table.createTBody();
  for (const part of line.parts) {
    const row = body.insertRow();
    row.append(element("td", part.name), element("td", part.state, part.is_bad ? "bad" : ""));
    for (const [key] of COLUMNS) row.append(element("td", part[key] === undefined ? "" : String(part[key])));
    const drops = Object.entries(part.drops).map(([why, count]) => `${why} ${count}`);
    row.append(element("td", drops.join(", "), "text"), element("td", part.status ?? "", "text"));
  }
  box.append(table);
  return box;
}

function eventItem(event) {
  const item = document.createElement("li");
  const time = new Date(event.at_ms).toLocaleTimeString();
  item.append(element("span", event.kind, event.kind === "warning" ? "" : "bad"));
  item.append(` ${time} ${event.line} ${event.part}: ${event.text}`);
  return item;
}
