// Shows the cameras of a site, and adds, pauses and removes them over its REST interface.

import { element } from "/health.js";

const byId = (id) => document.getElementById(id);
let shown = "";

/** Show the cameras of a site; `cameras` is null where the page shows lines that run elsewhere. */
export function showSite(cameras) {
  byId("site").hidden = cameras === null;
  const text = JSON.stringify(cameras);
  if (cameras === null || text === shown) return; // a button that is being pressed stays where it is
  shown = text;
  byId("site-cameras").replaceChildren(...cameras.map(row));
}

function row(camera) {
  const made = document.createElement("tr");
  const properties = Object.entries(camera.properties).map(([name, value]) => `${name}=${value}`);
  made.append(element("td", camera.name), element("td", camera.state, camera.state === "failed" ? "bad" : ""));
  made.append(element("td", camera.why || properties.join(" "), "text"));
  const buttons = document.createElement("td");
  const isPaused = camera.state === "paused";
  const address = `/api/cameras/${encodeURIComponent(camera.name)}`;
  buttons.append(
    button(isPaused ? "resume" : "pause", () => ask("POST", `${address}/${isPaused ? "resume" : "pause"}`)),
    button("remove", () => confirm(`Remove ${camera.name}?`) && ask("DELETE", address)),
  );
  made.append(buttons);
  return made;
}

function button(text, act) {
  const made = element("button", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

/** Send a request; the trouble, or nothing, is shown below the form. */
async function ask(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  const found = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  byId("site-trouble").textContent = found.error ?? "";
  return answer.ok;
}

byId("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const lines = byId("add-properties").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const wrong = lines.find((line) => line.indexOf("=") < 1);
  if (wrong !== undefined) {
    byId("site-trouble").textContent = `${wrong} is not PROPERTY=VALUE`;
    return;
  }
  const pairs = lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]);
  const body = { name: byId("add-name").value.trim(), properties: Object.fromEntries(pairs) };
  if (await ask("POST", "/api/cameras", body)) event.target.reset();
});
