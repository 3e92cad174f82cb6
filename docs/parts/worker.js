// The networks, beside the page, so that it stays awake: loads them, finds the object, divides it into parts.
// partlib/masks/found.py and partlib/report/inference.py say the same in Python.

import * as ort from "./vendor/ort.wasm.min.mjs";
import * as image from "./image.js";

const NOTHING = "nothing"; // the page finds the words
const HERE = new URL(".", import.meta.url);
const sessions = new Map(); // by file
let manifest; // models.json
let photo; // the picture of the last "photo" message
let latest = 0; // number of the last "run" message: older ones are dropped
let loaded = 0;
let total = 0;
let queue = Promise.resolve(); // ONNX Runtime takes one call at a time

self.onmessage = ({ data }) => {
  if (data.type === "photo") photo = data.photo;
  if (data.type === "run") latest = data.number;
  if (data.type === "load" || data.type === "run") queue = queue.then(() => handle(data));
};

async function handle(message) {
  try {
    if (message.type === "load") {
      manifest = message.manifest;
      await prepare(message.kind, message.parts, false);
      self.postMessage({ type: "ready" });
    } else if (message.number === latest) {
      await prepare(message.kind, message.parts, message.whole);
      self.postMessage({ type: "working", number: message.number });
      const result = await segment(photo, message);
      self.postMessage({ type: "result", number: message.number, ...result }, [result.labels.buffer]);
    }
  } catch (error) {
    const text = error.message === NOTHING ? NOTHING : String(error.message ?? error);
    self.postMessage({ type: "error", number: message.number, text });
  }
}

/** Fetch what a model needs and is not there yet, and say how far it is. */
async function prepare(kindName, parts, whole) {
  const kind = manifest.kinds.find((each) => each.name === kindName);
  const wanted = [manifest.encoder, kind.models[parts], ...(whole ? [] : [kind.mask])];
  const missing = wanted.filter((each) => !sessions.has(each.file));
  const first = !ort.env.wasm.wasmBinary;
  total += missing.reduce((sum, each) => sum + each.bytes, 0) + (first ? manifest.runtime.bytes : 0);
  if (first) {
    ort.env.wasm.wasmPaths = new URL("vendor/", HERE).href;
    ort.env.wasm.numThreads = 1; // more need headers that not every server sends
    ort.env.wasm.wasmBinary = await unpacked(await bytesOf(manifest.runtime));
  }
  for (const each of missing) {
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
    sessions.set(each.file, await ort.InferenceSession.create(await bytesOf(each), options));
  }
}

/** The bytes of a file; the page hears of each piece. */
async function bytesOf({ file, bytes }) {
  const response = await fetch(new URL(file, HERE));
  if (!response.ok) throw new Error(`${file} could not be loaded (${response.status}); try again later`);
  const reader = response.body.getReader();
  const chunks = [];
  let got = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    got += value.length;
    self.postMessage({ type: "progress", loaded: loaded + Math.min(got, bytes), total });
  }
  loaded += bytes;
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

/** What gzip has packed; some servers unpack it on the way. */
async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.buffer;
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** Logits {data, dims: (N, K, h, w)} of `number` pictures, floats (N, 3, size, size), by a decoder on the encoder. */
async function logitsOf(decoder, floats, number, size) {
  const maps = await sessions
    .get(manifest.encoder.file)
    .run({ images: new ort.Tensor("float32", floats, [number, 3, size, size]) });
  const session = sessions.get(decoder.file);
  const inputs = Object.fromEntries(session.inputNames.map((name) => [name, maps[name]]));
  return (await session.run(inputs)).logits;
}

/** Probabilities (side, side) that the pixels of a crop are the object's. */
async function look(network, crop) {
  const { side } = manifest.mask;
  const both = new Float32Array(2 * 3 * side * side);
  both.set(image.toTensor(crop.image));
  both.set(image.toTensor(crop.image, true), both.length / 2);
  const { data, dims } = await logitsOf(network, both, 2, side);
  return image.probability(data, dims[2], dims[3], crop.box, side);
}

/** Mask of the largest object of a picture, without the last step of partlib segment, GrabCut. */
async function find(network, picture) {
  const { width, height } = picture;
  const { side, margin, grow } = manifest.mask;
  // Where is it? The network sees the whole picture
  let crop = image.cropAround(picture, [0, 0, width - 1, height - 1], 0, side);
  const piece = image.largestPiece(await look(network, crop), side);
  if (!piece) throw new Error(NOTHING);
  // Where does it end? A second look at the place
  crop = image.cropAround(picture, image.grownBox(piece, crop.square, grow, side), margin, side);
  return image.paste(await look(network, crop), side, crop.square, width, height);
}

/** Labels (height, width) of the picture, 0 off the object and 1..K, and the seconds that they took. */
async function segment(picture, { kind: name, parts, whole }) {
  const began = performance.now();
  const kind = manifest.kinds.find((each) => each.name === name);
  const model = kind.models[parts];
  const { width, height } = picture;
  const mask = whole ? new Uint8Array(width * height).fill(1) : await find(kind.mask, picture);
  const square = image.squareAround(mask, width, height, manifest.margin);
  if (!square) throw new Error(NOTHING);
  const crop = image.resizePhoto(image.cropSquare(picture, square), model.size);
  const { data, dims } = await logitsOf(model, image.toTensor(crop), 1, model.size);
  const labels = image.labelsOf(data, dims[1], dims[2], dims[3], model.size, square, mask, width, height);
  return { labels, width, height, model: model.name, seconds: (performance.now() - began) / 1000 };
}
