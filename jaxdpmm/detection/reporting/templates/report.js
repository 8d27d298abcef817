"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const palette = data.palette;
const LAST = data.levels.length - 1;
const OUTLINE = [0, 255, 160];
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

function load(image) {
  const pixels = (uri) => (uri ? pixelsOf(uri, image.width, image.height) : null);
  image.loaded ??= Promise.all([pixels(image.picture), pixels(image.map), pixels(image.mask)]);
  return image.loaded;
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
  const image = data.images[canvas.dataset.image];
  const [picture, map, mask] = await load(image);
  const context = canvas.getContext("2d");
  const result = context.createImageData(image.width, image.height);
  paint(result.data, picture, map, state.pixel);
  if (state.view === "overlay") drawEdge(result.data, image.width, (p) => map[p] >= state.pixel, [255, 255, 255]);
  if (mask && state.outline) drawEdge(result.data, image.width, (p) => mask[p] > 0, OUTLINE);
  context.putImageData(result, 0, 0);
  canvas.dataset.drawn = `${state.pixel} ${state.view} ${state.outline}`;
}

// Only what is on the screen is drawn, so that the slider stays quick with hundreds of images.
const visible = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) visible.delete(target);
    else { visible.add(target); draw(target); }
  }
}, { rootMargin: "300px" });

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; visible.forEach(draw); });
}

// Cards ----------------------------------------------------------------------------------------

function element(tag, className, content = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = content;
  return made;
}

const kindOf = (image) => ["normal", "anomalous"][image.label] ?? "unlabelled";
const isCalled = (image) => image.score >= state.image;
const isPositive = (image) => image.label === 0 && isCalled(image);
const isNegative = (image) => image.label === 1 && !isCalled(image);

function card(number) {
  const image = data.images[number];
  const figure = element("figure", "card");
  const frame = element("button", "frame");
  frame.title = "Larger or smaller";
  frame.addEventListener("click", () => figure.classList.toggle("large"));
  const canvas = element("canvas", "");
  Object.assign(canvas, { width: image.width, height: image.height });
  canvas.dataset.image = number;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${image.name}, score ${text(image.score)}`);
  frame.append(canvas);
  const caption = element("figcaption", "");
  const line = element("span", "line");
  line.append(element("span", "score", text(image.score)), element("span", `kind ${kindOf(image)}`, image.kind || kindOf(image)));
  const name = element("span", "name", image.name);
  name.title = image.name;
  caption.append(line, name, element("span", "verdict"));
  figure.append(frame, caption);
  figure.dataset.image = number;
  watcher.observe(canvas);
  return figure;
}

function fill(id, numbers) {
  const grid = byId(id);
  if (!grid) return;
  for (const canvas of grid.querySelectorAll("canvas")) { watcher.unobserve(canvas); visible.delete(canvas); }
  grid.replaceChildren(...numbers.map(card));
}

function judge() {
  for (const figure of document.querySelectorAll(".card")) {
    const image = data.images[figure.dataset.image];
    const verdict = figure.querySelector(".verdict");
    const wrong = isPositive(image) ? "false positive" : isNegative(image) ? "false negative" : "";
    verdict.textContent = wrong || (isCalled(image) ? "called anomalous" : "called normal");
    verdict.classList.toggle("wrong", Boolean(wrong));
  }
}

const filters = {
  all: () => true,
  called: isCalled,
  normal: (image) => image.label === 0,
  anomalous: (image) => image.label === 1,
  positives: isPositive,
  negatives: isNegative,
};
const orders = {
  down: (a, b) => data.images[b].score - data.images[a].score,
  up: (a, b) => data.images[a].score - data.images[b].score,
  name: (a, b) => data.images[a].name.localeCompare(data.images[b].name),
};

function list() {
  const wanted = filters[byId("show").value];
  const numbers = [...data.images.keys()].filter((number) => wanted(data.images[number]));
  fill("all", numbers.sort(orders[byId("sort").value]));
  byId("number").textContent = `${numbers.length} of ${data.images.length} images`;
  judge();
}

// Controls -------------------------------------------------------------------------------------

function tell() {
  const of = (label) => data.images.filter((image) => image.label === label);
  const called = (images) => images.filter(isCalled).length;
  const [normal, anomalous] = [of(0), of(1)];
  byId("outcome").textContent = normal.length && anomalous.length
    ? `finds ${called(anomalous)} of ${anomalous.length} anomalous images and calls ${called(normal)} of ${normal.length} normal ones anomalous.`
    : `calls ${called(data.images)} of ${data.images.length} images anomalous.`;
  byId("image-threshold-value").textContent = text(state.image);
  const slider = byId("image-threshold");
  const share = (state.image - slider.min) / (slider.max - slider.min);
  for (const end of ["x1", "x2"]) byId("threshold-line").setAttribute(end, 1000 * Math.min(Math.max(share, 0), 1));
  judge();
}

function showPixelThreshold() {
  byId("pixel-threshold-value").textContent = text(data.levels[state.pixel]);
  byId("ramp-low").textContent = text(state.view === "map" ? data.levels[0] : data.levels[state.pixel]);
  byId("ramp-high").textContent = text(data.levels[LAST]);
  const first = state.view === "map" ? 0 : FIRST_COLOUR;
  const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => `rgb(${palette[Math.round(first + (255 - first) * share)]})`);
  byId("ramp-colours").style.background = `linear-gradient(to right, ${stops})`;
}

byId("pixel-threshold").addEventListener("input", (event) => {
  state.pixel = Number(event.target.value);
  showPixelThreshold();
  redraw();
});
byId("image-threshold").addEventListener("input", (event) => { state.image = Number(event.target.value); tell(); });
byId("image-threshold").addEventListener("change", list);
byId("outline").addEventListener("change", (event) => { state.outline = event.target.checked; redraw(); });
byId("view").addEventListener("change", (event) => { state.view = event.target.value; showPixelThreshold(); redraw(); });
for (const id of ["sort", "show"]) byId(id).addEventListener("change", list);

byId("image-threshold").value = state.image;
byId("outline").parentElement.hidden = !data.images.some((image) => image.mask);
fill("positives", data.worst.positives);
fill("negatives", data.worst.negatives);
list();
tell();
showPixelThreshold();
