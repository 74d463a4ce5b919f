"use strict";

const SIDE = 280, PEN = 18, SENT = 140;  // of the board and the pen in its pixels; of the drawing that is sent
const EXPLAIN_AFTER = 250;  // milliseconds without a change

const byId = (id) => document.getElementById(id);
const canvas = byId("canvas"), pen = canvas.getContext("2d", {willReadFrequently: true});
let classes = [];
let version = 0, asked = 0, reading = false, timer = 0;  // version: of the drawing, one more with each change

// ---- drawing: the ink is white on a transparent board

pen.lineCap = pen.lineJoin = "round";
pen.lineWidth = PEN;
pen.strokeStyle = "#fff";

const strokes = new Map();  // from a pointer's number to where it was last

function drawTo(from, to) {
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x + (from.x === to.x && from.y === to.y ? 0.01 : 0), to.y);  // a line of no length leaves no dot
  pen.stroke();
  changed();
}

function placeOf(event) {
  const box = canvas.getBoundingClientRect();
  return {x: (event.clientX - box.left) / box.width * SIDE, y: (event.clientY - box.top) / box.height * SIDE};
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  canvas.focus({preventScroll: true, focusVisible: false});
  hideCursor();
  canvas.setPointerCapture(event.pointerId);
  const place = placeOf(event);
  strokes.set(event.pointerId, place);
  drawTo(place, place);
});
canvas.addEventListener("pointermove", (event) => {
  if (!strokes.has(event.pointerId)) return;
  const passed = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const one of passed.length ? passed : [event]) {
    const place = placeOf(one);
    drawTo(strokes.get(event.pointerId), place);
    strokes.set(event.pointerId, place);
  }
});
for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
  canvas.addEventListener(name, (event) => strokes.delete(event.pointerId));
}

function clear() {
  pen.clearRect(0, 0, SIDE, SIDE);
  byId("note").textContent = "";
  cursor.down = false;
  changed();
}

// ---- the same by keyboard: a pen that arrows move

const cursor = {x: SIDE / 2, y: SIDE / 4, down: false};
const STEPS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key in STEPS) {
    const step = event.shiftKey ? 2 : 10, from = {...cursor};
    const inside = (value) => Math.min(Math.max(value, PEN / 2), SIDE - PEN / 2);
    cursor.x = inside(cursor.x + step * STEPS[event.key][0]);
    cursor.y = inside(cursor.y + step * STEPS[event.key][1]);
    if (cursor.down) drawTo(from, cursor);
  } else if (event.key === " ") {
    cursor.down = !cursor.down;
    if (cursor.down) drawTo(cursor, cursor);
    byId("note").textContent = cursor.down ? "Pen down" : "Pen up";
  } else if (event.key === "Delete" || event.key === "Backspace") {
    clear();
  } else {
    return;
  }
  event.preventDefault();
  const ring = byId("cursor");
  ring.hidden = false;
  ring.classList.toggle("down", cursor.down);
  ring.style.left = `${cursor.x / SIDE * 100}%`;
  ring.style.top = `${cursor.y / SIDE * 100}%`;
});
canvas.addEventListener("blur", hideCursor);

function hideCursor() {
  cursor.down = false;
  byId("cursor").hidden = true;
}

byId("clear").addEventListener("click", clear);
byId("sample").addEventListener("click", async () => {
  const number = Math.floor(Math.random() * 10000);
  const sample = await ask(`/api/sample?n=${number}`);
  if (sample === null) return;
  clear();
  const small = document.createElement("canvas");
  small.width = small.height = sample.image.length;
  paint(small, sample.image.flat(), (value) => [255, 255, 255, value]);
  pen.drawImage(small, 0, 0, SIDE, SIDE);
  byId("note").textContent = `Test image ${number} of MNIST, which is a ${sample.label}`;
  changed();
});

// ---- reading: one request at a time, always of the newest drawing

function drawing() {
  const alpha = pen.getImageData(0, 0, SIDE, SIDE).data, factor = SIDE / SENT, rows = [];
  for (let y = 0; y < SENT; y++) {
    const row = new Array(SENT);
    for (let x = 0; x < SENT; x++) {
      let sum = 0;
      for (let dy = 0; dy < factor; dy++) {
        for (let dx = 0; dx < factor; dx++) sum += alpha[4 * ((y * factor + dy) * SIDE + x * factor + dx) + 3];
      }
      row[x] = Math.round(sum / factor ** 2);
    }
    rows.push(row);
  }
  return rows;
}

function changed() {
  version += 1;
  clearTimeout(timer);
  timer = setTimeout(explain, EXPLAIN_AFTER);
  if (!reading) read();
}

async function read() {
  reading = true;
  while (asked !== version) {
    await new Promise(requestAnimationFrame);
    asked = version;
    const image = drawing();
    if (image.some((row) => row.some((pixel) => pixel > 0))) {
      const answer = await ask("/api/read", {image});
      if (answer !== null) showReading(answer);
    } else {
      showNothing();
    }
    byId("guess").dataset.version = asked;
  }
  reading = false;
}

async function explain() {
  if (strokes.size) {
    timer = setTimeout(explain, EXPLAIN_AFTER);
    return;
  }
  const of = version, image = drawing();
  if (!image.some((row) => row.some((pixel) => pixel > 0))) return;
  const answer = await ask("/api/explain", {image});
  if (answer !== null && of === version) showExplanation(answer);
}

async function ask(path, body) {
  try {
    const request = body === undefined ? {} :
      {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)};
    const response = await fetch(path, request);
    if (response.ok) return await response.json();
    byId("note").textContent = (await response.text()).trim();
  } catch {
    byId("note").textContent = "The server does not answer: it may have been ended";
  }
  return null;
}

// ---- showing

const ORANGE = [230, 126, 34], BLUE = [52, 120, 220];
const signed = (value) => [...(value > 128 ? ORANGE : BLUE), Math.min(255, Math.abs(value - 128) * 2)];

const over = ([red, green, blue, alpha], grey) =>
  [...[red, green, blue].map((part) => (part * alpha + grey * (255 - alpha)) / 255), 255];
let shown = [];  // the drawing as the network sees it

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function paint(target, values, colour) {
  const context = target.getContext("2d"), image = context.createImageData(target.width, target.height);
  values.forEach((value, index) => image.data.set(colour(value, index), 4 * index));
  context.putImageData(image, 0, 0);
}

function makeBars() {
  byId("bars").replaceChildren(...classes.map((name) => {
    const row = element("li", ""), track = element("span", "track");
    track.append(element("span", "bar"));
    row.append(element("span", "name", name), track, element("span", "share", "–"));
    return row;
  }));
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;  // or else it would be read out again
}

function showReading({seen, probabilities}) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  [...byId("bars").children].forEach((row, index) => {
    const share = `${(100 * probabilities[index]).toFixed(1)} %`;
    row.classList.toggle("best", index === best);
    row.querySelector(".bar").style.width = share.replace(" ", "");
    row.querySelector(".share").textContent = share;
  });
  setText(byId("guess"), `It reads ${classes[best]}, ${(100 * probabilities[best]).toFixed(0)} %`);
  shown = seen;
  paint(byId("seen"), seen.flat(), (value) => [255, 255, 255, value]);
}

function showNothing() {
  makeBars();
  setText(byId("guess"), "Nothing drawn yet");
  for (const id of ["seen", "why"]) byId(id).getContext("2d").clearRect(0, 0, 28, 28);
  byId("layers").replaceChildren();
}

function showExplanation(answer) {
  const ink = shown.flat();
  paint(byId("why"), valuesOf(answer.why), (value, index) => over(signed(value), 0.35 * ink[index]));
  byId("why").setAttribute("aria-label", `Which ink speaks for ${answer.class}, and which against it`);
  byId("layers").replaceChildren(...answer.layers.map(layerFigure));
}

function valuesOf({data}) {
  return Array.from(atob(data), (character) => character.charCodeAt(0));
}

function layerFigure(layer, index) {
  const [count, height, width] = layer.shape, values = valuesOf(layer);
  const single = height * width === 1;
  const columns = Math.min(count, single ? 32 : 2 ** Math.ceil(Math.log2(Math.sqrt(2 * count))));
  const picture = document.createElement("canvas"), gap = single ? 0 : 1;
  picture.width = columns * (width + gap) - gap;
  picture.height = Math.ceil(count / columns) * (height + gap) - gap;
  const mosaic = new Array(picture.width * picture.height).fill(128);
  for (let map = 0; map < count; map++) {
    const top = Math.floor(map / columns) * (height + gap), left = map % columns * (width + gap);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        mosaic[(top + y) * picture.width + left + x] = values[(map * height + y) * width + x];
      }
    }
  }
  paint(picture, mosaic, signed);
  const shape = single ? `${count} numbers` : `${count} ${count === 1 ? "map" : "maps"} of ${height} × ${width}`;
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `${layer.name}: ${shape}`);
  const figure = element("figure", count === 1 ? "one" : ""), caption = element("figcaption", "", " ");
  caption.prepend(element("b", "", `${index + 1} ${layer.name}`));
  caption.append(`${shape}, up to ${layer.largest.toPrecision(2)}`);
  figure.append(picture, caption);
  return figure;
}

ask("/api/about").then((about) => {
  if (about === null) return;
  classes = about.classes;
  byId("about").textContent = `${about.name}, ${about.parameters.toLocaleString("en")} parameters, on this machine alone`;
  makeBars();
  if (version) changed();
});
