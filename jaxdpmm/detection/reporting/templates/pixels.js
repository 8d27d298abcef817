"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const palette = data.palette;
const LAST = data.levels.length - 1;
const OUTLINE = [0, 255, 160];
const POINTED = [255, 220, 0];
const FIRST_COLOUR = 90; // of the palette: darker ones do not show on dark images
const state = { pixel: data.start, image: data.threshold, view: "overlay", outline: true };
const byId = (id) => document.getElementById(id);
const text = (number) => Number(number.toPrecision(4)).toString();

// Pixels ---------------------------------------------------------------------------------------

function pixelsOf(uri, width, height) {
  const picture = new Image();
  picture.src = uri;
  return picture.decode().then(() => {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  });
}

// Pixels of the images that were drawn last are kept; those of thousands would take gigabytes.
const NUM_KEPT = 120;
const kept = new Map();
function load(number) {
  const image = data.images[number];
  const pixels = (uri) => (uri ? pixelsOf(uri, image.width, image.height) : null);
  const loaded = kept.get(number) ?? Promise.all([pixels(image.picture), pixels(image.map), pixels(image.mask), componentsOf(image)]);
  kept.delete(number);
  kept.set(number, loaded);
  if (kept.size > NUM_KEPT) kept.delete(kept.keys().next().value);
  return loaded;
}

function paint(target, picture, map, start) {
  for (let place = 0; place < target.length; place += 4) {
    const level = map[place];
    const grey = (picture[place] * 77 + picture[place + 1] * 151 + picture[place + 2] * 28) >> 8;
    const share = (level - start) / Math.max(LAST - start, 1);
    const colour = palette[Math.round(FIRST_COLOUR + (255 - FIRST_COLOUR) * Math.max(share, 0))];
    const cover = state.view === "map" ? 1 : level < start ? 0 : 0.55 + 0.35 * share;
    for (let channel = 0; channel < 3; channel += 1) {
      const under = state.view === "image" ? picture[place + channel] : grey;
      const amount = state.view === "image" ? 0 : cover;
      const over = state.view === "map" ? palette[level][channel] : colour[channel];
      target[place + channel] = under * (1 - amount) + over * amount;
    }
    target[place + 3] = 255;
  }
}

function drawEdge(target, width, inside, colour) {
  const height = target.length / 4 / width;
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const place = 4 * (row * width + column);
      if (inside(place)) continue;
      const isEdge =
        (column > 0 && inside(place - 4)) || (column < width - 1 && inside(place + 4)) ||
        (row > 0 && inside(place - 4 * width)) || (row < height - 1 && inside(place + 4 * width));
      if (isEdge) target.set(colour, place);
    }
  }
}

async function draw(canvas) {
  const number = Number(canvas.dataset.image);
  const image = data.images[number];
  const [picture, map, mask, components] = await load(number);
  if (!visible.has(canvas)) return;
  if (canvas.width !== image.width) Object.assign(canvas, { width: image.width, height: image.height });
  const context = canvas.getContext("2d");
  const result = context.createImageData(image.width, image.height);
  if (state.view === "components" && components) paintComponents(result.data, picture, components);
  else paint(result.data, picture, map, state.pixel);
  if (state.view === "overlay") drawEdge(result.data, image.width, (p) => map[p] >= state.pixel, [255, 255, 255]);
  if (mask && state.outline) drawEdge(result.data, image.width, (p) => mask[p] > 0, OUTLINE);
  if (components && pointed.canvas === canvas) drawEdge(result.data, image.width, (p) => components[p / 4] === pointed.component, POINTED);
  context.putImageData(result, 0, 0);
  canvas.dataset.pointed = pointed.canvas === canvas ? pointed.component : "";
  canvas.dataset.drawn = `${state.pixel} ${state.view} ${state.outline}`;
}

// Only what is on the screen is drawn, so that the slider stays quick with hundreds of images.
const visible = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) { visible.delete(target); target.width = 0; delete target.dataset.drawn; } // gives its memory back
    else { visible.add(target); draw(target); }
  }
}, { rootMargin: "300px" });

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; visible.forEach(draw); });
}
