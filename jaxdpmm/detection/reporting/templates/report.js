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
  frame.tabIndex = -1;
  frame.addEventListener("click", () => enlarge(figure));
  const canvas = element("canvas", "");
  canvas.dataset.image = number;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${image.name}, score ${text(image.score)}`);
  canvas.addEventListener("pointermove", (event) => point(canvas, event));
  canvas.addEventListener("pointerdown", (event) => point(canvas, event));
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(canvas, -1));
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
  show(null, -1);
  grid.replaceChildren(...numbers.map(card));
  const first = grid.querySelector("button");
  if (first) first.tabIndex = 0; // one stop of the Tab key per grid; arrows go on from there
}

function enlarge(figure) {
  figure.querySelector("button").setAttribute("aria-pressed", figure.classList.toggle("large"));
}

function buttonsOf(grid) {
  return [...grid.querySelectorAll("button")];
}

const STEPS = {
  ArrowRight: () => 1,
  ArrowLeft: () => -1,
  ArrowDown: (grid) => getComputedStyle(grid).gridTemplateColumns.split(" ").length,
  ArrowUp: (grid) => -getComputedStyle(grid).gridTemplateColumns.split(" ").length,
  Home: () => -Infinity,
  End: () => Infinity,
};

function walk(event) {
  const grid = event.target.closest?.(".grid");
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (grid && event.key in STEPS) {
    const buttons = buttonsOf(grid);
    const place = buttons.indexOf(event.target) + STEPS[event.key](grid);
    const next = buttons[Math.min(Math.max(place, 0), buttons.length - 1)];
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    event.preventDefault();
  } else if (event.key === "Escape") {
    document.querySelectorAll(".card.large").forEach(enlarge);
    show(pointed.canvas, -1);
  } else if (event.key === "c" && byId("view-components") && event.target.tagName !== "SELECT") {
    byId(state.view === "components" ? "view-overlay" : "view-components").click();
  }
}
document.addEventListener("keydown", walk);

function judge() {
  for (const figure of document.querySelectorAll(".card")) {
    const image = data.images[figure.dataset.image];
    const verdict = figure.querySelector(".verdict");
    const wrong = isPositive(image) ? "false positive" : isNegative(image) ? "false negative" : "";
    const words = wrong || (isCalled(image) ? "called anomalous" : "called normal");
    if (verdict.textContent === words) continue; // thousands of cards, few of which change
    verdict.textContent = words;
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
byId("image-threshold").addEventListener("input", (event) => {
  const value = Number(event.target.value);
  state.image = value - 1e-14 * Math.abs(value); // a slider rounds to 15 digits, which may be above the score it was moved to
  tell();
});
byId("image-threshold").addEventListener("change", list);
byId("outline").addEventListener("change", (event) => { state.outline = event.target.checked; redraw(); });
byId("view").addEventListener("change", (event) => { state.view = event.target.value; showPixelThreshold(); redraw(); });
for (const id of ["sort", "show"]) byId(id).addEventListener("change", list);

for (const swatch of document.querySelectorAll(".swatch[data-component]")) swatch.style.background = colourOf(Number(swatch.dataset.component));
byId("image-threshold").value = state.image;
byId("outline").parentElement.hidden = !data.images.some((image) => image.mask);
fill("positives", data.worst.positives);
fill("negatives", data.worst.negatives);
list();
tell();
showPixelThreshold();
