// The page: a picture in, its parts drawn on it. The networks are in worker.js, the arithmetic of pictures in image.js.

import { reduceInto, shrinking } from "./image.js";

const SHOWN = 1200; // pixels of the longer side that are drawn: opacity follows the finger
const BAND = 512; // rows that are decoded at a time: phones refuse large canvases
const $ = (id) => document.getElementById(id);

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const manifest = await (await fetch("models.json")).json();
let picture = null; // {data, width, height} as the networks see it, and its name
let base = null; // ImageData of what is shown
let result = null; // labels of the picture, as the worker has sent them
let number = 0; // of the last run that was asked for

// Choices

const kind = $("kind");
for (const each of manifest.kinds) kind.add(new Option(each.title, each.name));
const parts = () => document.querySelector("input[name=parts]:checked").value;

for (const [i, example] of manifest.examples.entries()) {
  const button = document.createElement("button");
  button.type = "button";
  const thumbnail = new Image(96, 96);
  thumbnail.src = example.file;
  thumbnail.alt = `Example ${i + 1}: ${example.title}`;
  button.append(thumbnail);
  button.addEventListener("click", async () => {
    kind.value = example.kind;
    await take(await (await fetch(example.file)).blob(), thumbnail.alt);
  });
  const item = document.createElement("li");
  item.append(button);
  $("examples").append(item);
}

kind.addEventListener("change", run);
$("whole").addEventListener("change", run);
for (const input of document.querySelectorAll("input[name=parts]")) input.addEventListener("change", run);
$("opacity").addEventListener("input", draw);
$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) take(target.files[0], target.files[0].name);
  target.value = ""; // the same file may be chosen again
});
for (const type of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault(); // the browser would open the file instead of the page
    $("drop").classList.toggle("over", type === "dragover");
    const file = type === "drop" && event.dataTransfer.files[0];
    if (file) take(file, file.name);
  });
}

// From a file to parts

/** Read a picture file and have it divided. */
async function take(file, name) {
  say("Reading the picture …");
  try {
    // upright, as EXIF says; colors as they are stored, as Pillow reads them
    const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    if (bitmap.width * bitmap.height > manifest.most_pixels) throw new RangeError();
    picture = { ...pixelsOf(bitmap), name };
    base = shownOf(bitmap);
    bitmap.close();
  } catch (error) {
    const large = error instanceof RangeError;
    const found = large ? "has too many pixels" : "cannot be read as a picture";
    fail(`${name} ${found}; save it as a ${large ? "smaller " : ""}JPEG or PNG.`);
    return;
  }
  result = null;
  const { data, width, height } = picture;
  worker.postMessage({ type: "photo", photo: { data, width, height } });
  draw();
  run();
}

/** The picture as bytes; of more than manifest.large pixels at 1/2, 1/4, ... of its size. */
function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  const factor = shrinking(width, height, manifest.large);
  const target = { width: Math.ceil(width / factor), height: Math.ceil(height / factor) };
  target.data = new Uint8Array(target.width * target.height * 3);
  const context = contextOf(width, Math.min(BAND * factor, height));
  for (let top = 0; top < height; top += BAND * factor) {
    const rows = Math.min(BAND * factor, height - top);
    context.clearRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, top, width, rows, 0, 0, width, rows);
    reduceInto(target, top / factor, context.getImageData(0, 0, width, rows).data, width, rows, factor);
  }
  return target;
}

function shownOf(bitmap) {
  const scale = Math.min(1, SHOWN / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  const context = contextOf(width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

function contextOf(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return canvas.getContext("2d", { willReadFrequently: true });
}

function run() {
  if (!picture) return;
  number += 1;
  say("Looking for parts …");
  $("view").setAttribute("aria-busy", "true");
  worker.postMessage({ type: "run", number, kind: kind.value, parts: parts(), whole: $("whole").checked });
}

worker.onmessage = ({ data }) => {
  if (data.type === "progress") {
    $("loading").hidden = false;
    $("bar").max = data.total;
    $("bar").value = data.loaded;
    $("bytes").textContent = `${megabytes(data.loaded)} of ${megabytes(data.total)} MB`;
  } else if (data.type === "ready") {
    $("loading").hidden = true;
    if (!picture) say("Ready. Choose a picture.");
  } else if (data.number === undefined || data.number === number) {
    $("loading").hidden = true;
    if (data.type === "result") show(data);
    if (data.type === "error") fail(data.text === "nothing" ? $("nothing").textContent : data.text);
  }
};
worker.onerror = () => fail("This browser cannot run the networks; a current Chrome, Firefox or Safari can.");

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

function say(text) {
  $("status").textContent = text;
  $("error").hidden = true;
}

function fail(text) {
  $("status").textContent = "";
  $("loading").hidden = true;
  $("error").textContent = text;
  $("error").hidden = false;
  $("view").removeAttribute("aria-busy");
  result = null;
  draw();
  window.partsResult = { number, error: text };
}

// Drawing

function show(found) {
  result = found;
  window.partsResult = found; // for tests, and whoever wants the label map
  $("view").removeAttribute("aria-busy");
  say(`Done in ${found.seconds.toFixed(1)} s, with the model ${found.model}.`);
  draw();
}

/** The picture, its parts in their colors, white lines between them, the background faded. */
function draw() {
  $("view").hidden = !base;
  if (!base) return;
  const { width, height } = base;
  const canvas = $("canvas");
  [canvas.width, canvas.height] = [width, height];
  const drawn = new ImageData(new Uint8ClampedArray(base.data), width, height);
  const alpha = Number($("opacity").value) / 100;
  $("percent").textContent = `${$("opacity").value} %`;
  if (result) tint(drawn, alpha);
  canvas.getContext("2d").putImageData(drawn, 0, 0);
  legend();
}

function tint({ data, width, height }, alpha) {
  const colors = manifest.colors.map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
  const columns = Array.from({ length: width }, (_, x) => Math.floor(((x + 0.5) * result.width) / width));
  const at = (x, y) => result.labels[Math.floor(((y + 0.5) * result.height) / height) * result.width + columns[x]];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i += 4) {
      const label = at(x, y);
      const edge = (x + 1 < width && at(x + 1, y) !== label) || (y + 1 < height && at(x, y + 1) !== label);
      const color = edge ? [255, 255, 255] : label ? colors[label - 1] : [255, 255, 255];
      const share = label || edge ? alpha : alpha / 2;
      for (let c = 0; c < 3; c++) data[i + c] = (1 - share) * data[i + c] + share * color[c];
    }
  }
}

/** Which color is which part, and its share of the object. */
function legend() {
  const list = $("legend");
  list.replaceChildren();
  let text = picture.name;
  if (result) {
    const counts = new Array(Number(parts()) + 1).fill(0);
    for (const label of result.labels) counts[label] += 1;
    const object = result.labels.length - counts[0];
    counts.slice(1).forEach((count, k) => {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = manifest.colors[k];
      item.append(swatch, `Part ${k + 1}: ${Math.round((100 * count) / object)} %`);
      list.append(item);
    });
    const share = Math.round((100 * object) / result.labels.length);
    text = `${picture.name}: the object, ${share} % of the picture, in ${parts()} colored parts`;
  }
  $("canvas").setAttribute("aria-label", text);
}

worker.postMessage({ type: "load", manifest, kind: kind.value, parts: parts() });
