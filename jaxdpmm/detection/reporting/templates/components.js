// Components ---------------------------------------------------------------------------------------

const COLOURS = ["#1f77b4", "#aec7e8", "#ff7f0e", "#ffbb78", "#2ca02c", "#98df8a", "#d62728", "#ff9896", "#9467bd", "#c5b0d5",
  "#8c564b", "#c49c94", "#e377c2", "#f7b6d2", "#7f7f7f", "#c7c7c7", "#bcbd22", "#dbdb8d", "#17becf", "#9edae5"]; // tab20, as in `pictures`
const colourOf = (component) => COLOURS[component % COLOURS.length];
const rgbOf = COLOURS.map((colour) => [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16)));
const atlas = new Map(data.atlas.map((entry) => [entry.component, entry]));

// The component of each pixel, -1 outside of the patches; a picture of patches holds it in red and green.
async function componentsOf(image) {
  if (!image.components) return null;
  const [rows, columns] = image.grid;
  const grid = await pixelsOf(image.components, columns, rows);
  const [top, left, bottom, right] = image.box;
  const found = new Int32Array(image.width * image.height).fill(-1);
  for (let y = 0; y < image.height; y += 1) {
    const row = Math.floor((((y + 0.5) / image.height - top) / (bottom - top)) * rows);
    if (row < 0 || row >= rows) continue;
    for (let x = 0; x < image.width; x += 1) {
      const column = Math.floor((((x + 0.5) / image.width - left) / (right - left)) * columns);
      if (column < 0 || column >= columns) continue;
      const place = 4 * (row * columns + column);
      found[y * image.width + x] = grid[place] + 256 * grid[place + 1];
    }
  }
  return found;
}

function paintComponents(target, picture, components) {
  for (let place = 0; place < target.length; place += 4) {
    const component = components[place / 4];
    const grey = (picture[place] * 77 + picture[place + 1] * 151 + picture[place + 2] * 28) >> 8;
    for (let channel = 0; channel < 3; channel += 1) {
      target[place + channel] = component < 0 ? grey : 0.45 * grey + 0.55 * rgbOf[component % rgbOf.length][channel];
    }
    target[place + 3] = 255;
  }
}

// The component under the pointer: its patches are outlined, and what it has learned is shown in a corner.
const pointed = { canvas: null, component: -1 };
async function point(canvas, event) {
  const number = Number(canvas.dataset.image);
  const image = data.images[number];
  if (!image.components || !visible.has(canvas)) return;
  const frame = canvas.getBoundingClientRect();
  const scale = Math.min(frame.width / image.width, frame.height / image.height); // object-fit: contain
  const x = Math.floor((event.clientX - frame.left - (frame.width - scale * image.width) / 2) / scale);
  const y = Math.floor((event.clientY - frame.top - (frame.height - scale * image.height) / 2) / scale);
  const components = (await load(number))[3];
  const isInside = x >= 0 && y >= 0 && x < image.width && y < image.height;
  show(canvas, isInside ? components[y * image.width + x] : -1);
}

function show(canvas, component) {
  if (pointed.canvas === canvas && pointed.component === component) return;
  const before = pointed.canvas;
  Object.assign(pointed, { canvas: component < 0 ? null : canvas, component });
  for (const one of new Set([before, canvas])) if (one && visible.has(one)) draw(one);
  byId("peek").hidden = component < 0;
  if (component < 0) return;
  const words = element("span", "", `Component ${component}: ${Number((100 * data.shares[component]).toPrecision(3))} % of the training patches`);
  const swatch = element("span", "swatch");
  swatch.style.background = colourOf(component);
  words.prepend(swatch);
  byId("peek").replaceChildren(words, cropsOf(component));
}

function cropsOf(component) {
  const made = element("span", "crops");
  for (const uri of atlas.get(component)?.crops ?? []) made.append(Object.assign(new Image(), { src: uri, alt: "" }));
  return made;
}
