// The page: receives frames and the state over one WebSocket, draws them, and says what it has drawn.
// A frame is its head's length (4 bytes), the head (JSON) and a JPEG, so the skeletons are those of the picture.

import { colourOf, draw } from "/draw.js";
import { element, showHealth } from "/health.js";
import { showSite } from "/site.js";

const SILENT_S = 3;
const RETRY_MS = 1000;
const byId = (id) => document.getElementById(id);
const cameras = new Map(); // number of a camera: what is known and shown of it
const visible = new Set(); // cameras whose cards are on the screen
let state = { sources: [], cameras: [], skeletons: {}, lines: [], events: [], site: null };
let large = null; // the camera that is shown alone
let socket = null;
let asked = "";

// -- the connection ---------------------------------------------------------------------------------------------------

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/frames`);
  socket.binaryType = "arraybuffer";
  asked = "";
  socket.onopen = () => {
    forget();
    tellConnection("connected");
    ask();
  };
  socket.onmessage = ({ data }) => (typeof data === "string" ? takeState(JSON.parse(data)) : takeFrame(data));
  socket.onclose = ({ reason }) => {
    tellConnection(reason || "no connection to posestream; trying again …", "bad");
    setTimeout(connect, RETRY_MS);
  };
}

/** Another server numbers its cameras anew. */
function forget() {
  watcher.disconnect();
  cameras.clear();
  visible.clear();
  byId("grid").replaceChildren();
}

function tellConnection(text, className = "") {
  byId("connection").textContent = text;
  byId("connection").className = className;
}

/** Ask for the cameras that can be seen, and for none while the page cannot be. */
function ask() {
  const wanted = document.hidden ? [] : large !== null ? [large] : [...visible];
  const text = JSON.stringify({ show: wanted });
  if (text !== asked && socket?.readyState === WebSocket.OPEN) {
    asked = text;
    socket.send(text);
  }
}

// -- frames -----------------------------------------------------------------------------------------------------------

async function takeFrame(data) {
  const length = new DataView(data).getUint32(0);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  try {
    const jpeg = new Uint8Array(data, 4 + length);
    const bitmap = jpeg.length ? await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })) : null;
    show(head, bitmap);
    bitmap?.close();
  } finally {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ drawn: head.camera }));
  }
}

function show(head, bitmap) {
  const camera = cameras.get(head.camera);
  if (!camera || head.number < camera.number) return; // pictures are decoded side by side
  camera.skipped += camera.number ? head.number - camera.number - 1 : 0;
  camera.number = head.number;
  const isLarge = large === head.camera;
  const canvas = isLarge ? byId("large-canvas") : camera.canvas;
  draw(canvas, head, bitmap, state.skeletons[head.skeleton], isLarge && byId("names").checked);
  canvas.dataset.frame = head.frame;
  canvas.dataset.ageMs = (performance.timeOrigin + performance.now() - head.captured_ms).toFixed(1);
  camera.head = head;
  if (isLarge) showPeople(head);
}

/** The scores of all joints, as a table. */
function showPeople(head) {
  const names = state.skeletons[head.skeleton]?.joints ?? [];
  const table = document.createElement("table");
  const top = table.createTHead().insertRow();
  top.append(element("th", "joint"));
  for (const person of head.people) {
    const cell = element("th", person.id < 0 ? "?" : `#${person.id}`);
    cell.style.borderBottomColor = colourOf(person.id);
    top.append(cell);
  }
  const body = table.createTBody();
  const count = Math.max(0, ...head.people.map((person) => person.points.length));
  for (let joint = 0; joint < count; joint++) {
    const row = body.insertRow();
    row.append(element("td", (names[joint] ?? String(joint)).replaceAll("_", " ")));
    for (const person of head.people) row.append(element("td", person.points[joint]?.[2].toFixed(2) ?? ""));
  }
  byId("people").replaceChildren(head.people.length ? table : element("p", "no person in the picture"));
}

// -- the state --------------------------------------------------------------------------------------------------------

function takeState(given) {
  if (!given.cameras) return; // the server has only begun
  state = given;
  const troubles = state.sources.map(describeSource).filter(Boolean);
  byId("sources").replaceChildren(...troubles.map((text) => element("li", text)));
  for (const known of state.cameras) {
    if (!cameras.has(known.id)) addCamera(known);
    const camera = cameras.get(known.id);
    camera.known = known;
    const facts = describe(known, camera);
    camera.facts.textContent = facts;
    camera.facts.className = known.silent_s === null || known.silent_s > SILENT_S ? "facts bad" : "facts";
    if (large === known.id) byId("large-facts").textContent = facts;
  }
  const known = new Set(state.cameras.map((one) => one.id));
  for (const id of [...cameras.keys()]) if (!known.has(id)) dropCamera(id);
  showSite(state.site);
  showHealth(state);
  ask();
}

function dropCamera(id) {
  const { card } = cameras.get(id);
  watcher.unobserve(card);
  card.remove();
  cameras.delete(id);
  visible.delete(id);
  if (large === id) location.hash = "";
}

function describeSource(source) {
  if (source.trouble) return `${source.address}: ${source.trouble}`;
  return source.hidden ? `${source.address}: ${source.hidden} more cameras are not shown` : "";
}

function describe(known, camera) {
  if (known.silent_s === null) return "nothing yet";
  if (known.silent_s > SILENT_S) return `silent for ${Math.round(known.silent_s)} s`;
  const people = known.people === 1 ? "1 person" : `${known.people} people`;
  const facts = [`${known.fps.toFixed(1)} fps`, `${Math.round(known.age_ms)} ms old`, people];
  if (known.lost) facts.push(`${known.lost} lost`);
  if (camera.skipped) facts.push(`${camera.skipped} skipped here`);
  if (!known.pictures && camera.head) facts.push("no pictures: set keypointsink pictures=true");
  return facts.join(" · ");
}

function addCamera(known) {
  const card = element("button", "", "card");
  card.type = "button";
  const canvas = document.createElement("canvas");
  const facts = element("span", "", "facts");
  const isAmbiguous = state.cameras.some((other) => other.id !== known.id && other.name === known.name);
  const source = isAmbiguous ? ` (${state.sources[known.source].address})` : "";
  const title = document.createElement("span");
  title.append(element("strong", known.name), source);
  card.append(canvas, title, facts);
  card.dataset.camera = known.id;
  card.addEventListener("click", () => (location.hash = `camera=${known.id}`));
  cameras.set(known.id, { known, card, canvas, facts, number: 0, skipped: 0, head: null });
  byId("grid").append(card);
  watcher.observe(card);
  if (location.hash === `#camera=${known.id}`) follow();
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) visible.add(Number(target.dataset.camera));
    else visible.delete(Number(target.dataset.camera));
  }
  ask();
});

// -- one camera, or all -----------------------------------------------------------------------------------------------

function follow() {
  const match = /^#camera=(\d+)$/.exec(location.hash);
  const camera = match ? cameras.get(Number(match[1])) : undefined;
  large = camera ? camera.known.id : null;
  for (const one of cameras.values()) one.number = 0; // what was left out on purpose was not skipped
  byId("large").hidden = large === null;
  byId("grid").hidden = large !== null;
  if (camera) {
    byId("large-name").textContent = camera.known.name;
    byId("large-facts").textContent = "";
  }
  ask();
}

window.addEventListener("hashchange", follow);
document.addEventListener("visibilitychange", () => {
  for (const one of cameras.values()) one.number = 0;
  ask();
});
byId("back").addEventListener("click", () => (location.hash = ""));
connect();
