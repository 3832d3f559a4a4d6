// Draws a frame, its people and, where wanted, the names of their joints on a canvas.

const MIN_SCORE = 0.3;
const BARE_HEIGHT = 720; // of a frame without a picture, px
const SIDES = { left_: "rgb(0,200,0)", right: "rgb(255,128,0)" }; // as in overlaysink
const MIDDLE = "rgb(51,153,255)";

/** The colour of a person: consecutive ids differ clearly, people without an id are grey. */
export function colourOf(id) {
  return id < 0 ? "rgb(160,160,160)" : `hsl(${((id * 0.618034) % 1) * 360} 90% 62%)`;
}

function colourOfJoint(name) {
  return SIDES[name.slice(0, 5)] ?? MIDDLE;
}

/** Draw a frame; `bitmap` is its picture, or null. Coordinates are continuous px of the frame, as a canvas has them. */
export function draw(canvas, head, bitmap, skeleton, withNames) {
  const [width, height] = head.size;
  const shrink = bitmap ? bitmap.height / height : Math.min(1, BARE_HEIGHT / height);
  const size = bitmap ? [bitmap.width, bitmap.height] : [Math.round(width * shrink), Math.round(height * shrink)];
  if (canvas.width !== size[0]) canvas.width = size[0];
  if (canvas.height !== size[1]) canvas.height = size[1];
  const pen = canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  if (bitmap) {
    pen.drawImage(bitmap, 0, 0);
  } else {
    pen.fillStyle = "rgb(24,24,24)";
    pen.fillRect(0, 0, ...size);
  }
  const scale = [size[0] / width, size[1] / height];
  const unit = Math.max(1, size[1] / 360);
  for (const person of head.people) drawPerson(pen, person, skeleton, scale, unit, withNames);
}

function drawPerson(pen, person, skeleton, [sx, sy], unit, withNames) {
  const colour = colourOf(person.id);
  const [x1, y1, x2, y2] = person.box;
  pen.lineWidth = unit;
  pen.strokeStyle = colour;
  pen.strokeRect(x1 * sx, y1 * sy, (x2 - x1) * sx, (y2 - y1) * sy);
  const points = person.points.map(([x, y, score]) => ({ x: x * sx, y: y * sy, seen: score >= MIN_SCORE }));
  pen.lineWidth = 1.5 * unit;
  for (const [start, end] of skeleton?.limbs ?? []) {
    const [a, b] = [points[start], points[end]];
    if (!a?.seen || !b?.seen) continue;
    pen.strokeStyle = colourOfJoint(skeleton.joints[start] ?? "");
    pen.beginPath();
    pen.moveTo(a.x, a.y);
    pen.lineTo(b.x, b.y);
    pen.stroke();
  }
  points.forEach((point, joint) => {
    if (!point.seen) return;
    pen.fillStyle = colourOfJoint(skeleton?.joints[joint] ?? "");
    pen.beginPath();
    pen.arc(point.x, point.y, 1.6 * unit, 0, 2 * Math.PI);
    pen.fill();
  });
  const size = Math.max(11, 7 * unit);
  label(pen, person.id < 0 ? person.score.toFixed(2) : `#${person.id}`, x1 * sx, y1 * sy, size * 1.2, colour);
  if (withNames) {
    points.forEach((point, joint) => {
      const name = skeleton?.joints[joint];
      if (point.seen && name) outlined(pen, name.replaceAll("_", " "), point.x + 2 * unit, point.y, size * 0.8);
    });
  }
}

function label(pen, text, x, y, size, colour) {
  pen.font = `600 ${size}px system-ui, sans-serif`;
  const width = pen.measureText(text).width + size * 0.4;
  const top = y - size * 1.2 >= 0 ? y - size * 1.2 : y;
  pen.fillStyle = colour;
  pen.fillRect(x, top, width, size * 1.2);
  pen.fillStyle = "rgb(24,24,24)";
  pen.fillText(text, x + size * 0.2, top + size * 0.95);
}

function outlined(pen, text, x, y, size) {
  pen.font = `${size}px system-ui, sans-serif`;
  pen.lineWidth = size / 4;
  pen.strokeStyle = "rgba(0,0,0,.7)";
  pen.strokeText(text, x, y);
  pen.fillStyle = "white";
  pen.fillText(text, x, y);
}
