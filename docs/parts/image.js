// Pictures as the Python package computes them, to the pixel: partlib/data/photos.py, partlib/masks/boxes.py and
// found.py, partlib/report/inference.py, and the resizing of Pillow and PyTorch that they call. No network, no page.
//
// A picture is {data, width, height}: data holds bytes RGBRGB..., row by row. A square is [left, top, side] in pixels
// of a photograph and may reach over its edge. A box is [x0, y0, x1, y1], first and last pixel.

/** Python's round(): halves go to the even neighbor. */
export function round(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** By which power of two to divide the sides so that at most `limit` pixels are left. */
export function shrinking(width, height, limit) {
  let factor = 1;
  while (Math.floor(width / factor) * Math.floor(height / factor) > limit) factor *= 2;
  return factor;
}

/** Means of factor x factor pixels, as Pillow's reduce(); `rgba` holds whole cells, but for the last row and column. */
export function reduceInto(target, firstRow, rgba, width, height, factor) {
  const columns = target.width;
  for (let y = 0; y < Math.ceil(height / factor); y++) {
    const y1 = Math.min((y + 1) * factor, height);
    for (let x = 0; x < columns; x++) {
      const x1 = Math.min((x + 1) * factor, width);
      const count = (y1 - y * factor) * (x1 - x * factor);
      const place = ((firstRow + y) * columns + x) * 3;
      for (let c = 0; c < 3; c++) {
        let sum = count >> 1; // rounds
        for (let v = y * factor; v < y1; v++) {
          for (let u = x * factor; u < x1; u++) sum += rgba[(v * width + u) * 4 + c];
        }
        target.data[place + c] = Math.floor(sum / count);
      }
    }
  }
}

/** A square cut out of a picture; beyond the picture its edge is repeated. */
export function cropSquare(picture, [left, top, side]) {
  const { data, width, height } = picture;
  const cut = new Uint8Array(side * side * 3);
  for (let y = 0, to = 0; y < side; y++) {
    const row = Math.min(Math.max(top + y, 0), height - 1) * width;
    for (let x = 0; x < side; x++, to += 3) {
      const from = (row + Math.min(Math.max(left + x, 0), width - 1)) * 3;
      cut[to] = data[from];
      cut[to + 1] = data[from + 1];
      cut[to + 2] = data[from + 2];
    }
  }
  return { data: cut, width: side, height: side };
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));
const FILTERS = {
  lanczos: { support: 3, at: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
};
const BITS = 22; // of the fraction of Pillow's integer weights

/** Pillow's weights for one axis: of each output pixel where it begins to read, and `reach` weights. */
function weights(length, size, filter, integers) {
  const scale = length / size;
  const wide = Math.max(scale, 1); // the filter grows where the picture shrinks: no aliasing
  const support = filter.support * wide;
  const reach = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(size);
  const counts = new Int32Array(size);
  const values = new Float64Array(size * reach);
  for (let i = 0; i < size; i++) {
    const center = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const count = Math.min(Math.trunc(center + support + 0.5), length) - first;
    let sum = 0;
    for (let j = 0; j < count; j++) {
      const weight = filter.at((j + first - center + 0.5) * (1 / wide));
      values[i * reach + j] = weight;
      sum += weight;
    }
    for (let j = 0; j < count; j++) {
      const weight = values[i * reach + j] / sum;
      values[i * reach + j] = integers ? Math.trunc(weight * 2 ** BITS + (weight < 0 ? -0.5 : 0.5)) : weight;
    }
    starts[i] = first;
    counts[i] = count;
  }
  return { starts, counts, values, reach };
}

/** One axis of a resize: data (outer, length, inner) -> (outer, size, inner), of the same type. */
function resizeAxis(data, outer, length, inner, size, filter) {
  if (size === length) return data;
  const bytes = data instanceof Uint8Array;
  const { starts, counts, values, reach } = weights(length, size, filter, bytes);
  const result = new data.constructor(outer * size * inner);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < size; i++) {
      const from = (o * length + starts[i]) * inner;
      const to = (o * size + i) * inner;
      for (let c = 0; c < inner; c++) {
        let sum = bytes ? 2 ** (BITS - 1) : 0;
        for (let j = 0, at = from + c; j < counts[i]; j++, at += inner) sum += data[at] * values[i * reach + j];
        // between the two axes bytes are rounded and clipped, too
        result[to + c] = bytes ? Math.min(Math.max(Math.floor(sum / 2 ** BITS), 0), 255) : sum;
      }
    }
  }
  return result;
}

function resize(data, width, height, channels, toWidth, toHeight, filter) {
  const wide = resizeAxis(data, height, width, channels, toWidth, filter);
  return resizeAxis(wide, 1, height, toWidth * channels, toHeight, filter);
}

/** Lanczos resize of a square picture to `size` pixels: resize_photo. */
export function resizePhoto(picture, size) {
  const { data, width, height } = picture;
  return { data: resize(data, width, height, 3, size, size, FILTERS.lanczos), width: size, height: size };
}

/** Bilinear resize of floats (side, side) -> (size, size), with Pillow's filter: what paste() does. */
export function resizeFloats(values, side, size) {
  return resize(values, side, side, 1, size, size, FILTERS.bilinear);
}

/** Where an axis with aligned corners is read: the two neighbors and the weight of the second, as PyTorch does. */
export function alignedAxis(length, size) {
  const scale = Math.fround(size > 1 ? (length - 1) / (size - 1) : 0);
  return Array.from({ length: size }, (_, i) => {
    const real = Math.fround(scale * i);
    const first = Math.min(Math.trunc(real), length - 1);
    return [first, Math.min(first + 1, length - 1), Math.fround(real - first)];
  });
}

/** F.interpolate(bilinear, align_corners=True) of one channel of floats (h, w), from `offset` on, to (size, size). */
export function resizeAligned(values, h, w, size, offset = 0) {
  const result = new Float32Array(size * size);
  const columns = alignedAxis(w, size);
  alignedAxis(h, size).forEach(([top, bottom, down], y) => {
    const a = offset + top * w;
    const b = offset + bottom * w;
    for (let x = 0; x < size; x++) {
      const [left, right, along] = columns[x];
      const upper = (1 - along) * values[a + left] + along * values[a + right];
      const lower = (1 - along) * values[b + left] + along * values[b + right];
      result[y * size + x] = (1 - down) * upper + down * lower;
    }
  });
  return result;
}

/** A picture as floats (3, S, S) in [0, 1]; `mirrored` from right to left. */
export function toTensor({ data, width, height }, mirrored = false) {
  const result = new Float32Array(3 * width * height);
  for (let c = 0, to = 0; c < 3; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++, to++) {
        result[to] = data[(y * width + (mirrored ? width - 1 - x : x)) * 3 + c] / 255;
      }
    }
  }
  return result;
}

/** crop_around: the square around a box at `size` pixels, the box in it, and where the square lies. */
export function cropAround(picture, box, margin, size) {
  const { width, height } = picture;
  const [x0, y0] = [Math.max(box[0], 0), Math.max(box[1], 0)];
  const [x1, y1] = [Math.min(box[2], width - 1), Math.min(box[3], height - 1)];
  const side = Math.max(1, round(Math.max(x1 - x0 + 1, y1 - y0 + 1) * (1 + 2 * margin)));
  const square = [round((x0 + x1 + 1 - side) / 2), round((y0 + y1 + 1 - side) / 2), side];
  const scale = size / side;
  const inner = [x0 - square[0], y0 - square[1], x1 - square[0], y1 - square[1]].map((v) => Math.trunc(v * scale));
  return { image: resizePhoto(cropSquare(picture, square), size), box: inner, square };
}

/** Probabilities (S, S) of a mask network: mean of its logits (2, 1, h, w) of picture and mirror image; 0 off `box`. */
export function probability(logits, h, w, box, size) {
  const mean = new Float32Array(h * w);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) mean[y * w + x] = (logits[y * w + x] + logits[h * w + y * w + w - 1 - x]) / 2;
  }
  const [x0, y0, x1, y1] = box.map((value) => Math.min(Math.max(value, 0), size - 1));
  return resizeAligned(mean, h, w, size).map((value, i) => {
    const [x, y] = [i % size, Math.floor(i / size)];
    return x >= x0 && x <= x1 && y >= y0 && y <= y1 ? 1 / (1 + Math.exp(-value)) : 0;
  });
}

/** [left, top, right, bottom] of the largest piece of the values (S, S) from one half on, right and bottom excluded;
 *  pixels hang together by their sides. Null where there is none. */
export function largestPiece(values, size) {
  const seen = new Uint8Array(size * size);
  let best = null;
  let most = 0;
  for (let start = 0; start < seen.length; start++) {
    if (seen[start] || !(values[start] >= 0.5)) continue;
    const stack = [start];
    seen[start] = 1;
    let count = 0;
    const box = [size, size, 0, 0];
    while (stack.length) {
      const at = stack.pop();
      const [x, y] = [at % size, Math.floor(at / size)];
      count++;
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], y);
      box[2] = Math.max(box[2], x + 1);
      box[3] = Math.max(box[3], y + 1);
      const near = [x > 0 && at - 1, x < size - 1 && at + 1, y > 0 && at - size, y < size - 1 && at + size];
      for (const next of near) {
        if (next !== false && !seen[next] && values[next] >= 0.5) {
          seen[next] = 1;
          stack.push(next);
        }
      }
    }
    if (count > most) [best, most] = [box, count];
  }
  return best;
}

/** The box for a second look: that of the piece in a first square, grown on all sides by `grow` of its longer side. */
export function grownBox(piece, [left, top, side], grow, size) {
  const more = grow * Math.max(piece[3] - piece[1], piece[2] - piece[0]);
  const scale = side / size;
  const start = [left + scale * (piece[0] - more), top + scale * (piece[1] - more)];
  const stop = [left + scale * (piece[2] + more), top + scale * (piece[3] + more)];
  return [round(start[0]), round(start[1]), round(stop[0]) - 1, round(stop[1]) - 1];
}

/** Mask (height, width) of 0 and 1 from probabilities (size, size) in a square of the photograph; 0 outside: paste. */
export function paste(values, size, [left, top, side], width, height) {
  const large = resizeFloats(values, size, side);
  const mask = new Uint8Array(width * height);
  for (let y = Math.max(top, 0); y < Math.min(top + side, height); y++) {
    for (let x = Math.max(left, 0); x < Math.min(left + side, width); x++) {
      mask[y * width + x] = large[(y - top) * side + x - left] >= 0.5 ? 1 : 0;
    }
  }
  return mask;
}

/** The square on the center of the box of a mask, with a margin of its longer side on all sides; null if empty. */
export function squareAround(mask, width, height, margin) {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!mask[y * width + x]) continue;
      left = Math.min(left, x);
      right = Math.max(right, x + 1);
      top = Math.min(top, y);
      bottom = y + 1;
    }
  }
  if (right === 0) return null;
  const side = round(Math.max(right - left, bottom - top) * (1 + 2 * margin));
  return [round((left + right - side) / 2), round((top + bottom - side) / 2), side];
}

/** Labels (height, width), 0 off the mask, else 1..K: of logits (K, h, w) in a square, brought to its size twice, as in
 *  segment_photo: to the `size` that the network saw, and to the pixels of the photograph. */
export function labelsOf(logits, K, h, w, size, [left, top, side], mask, width, height) {
  const seen = Array.from({ length: K }, (_, k) => resizeAligned(logits, h, w, size, k * h * w));
  const axis = alignedAxis(size, side);
  const labels = new Uint8Array(width * height);
  for (let y = Math.max(top, 0); y < Math.min(top + side, height); y++) {
    const [above, below, down] = axis[y - top];
    for (let x = Math.max(left, 0); x < Math.min(left + side, width); x++) {
      if (!mask[y * width + x]) continue;
      const [before, after, along] = axis[x - left];
      let best = -Infinity;
      for (let k = 0; k < K; k++) {
        const z = seen[k];
        const upper = (1 - along) * z[above * size + before] + along * z[above * size + after];
        const lower = (1 - along) * z[below * size + before] + along * z[below * size + after];
        const value = Math.fround((1 - down) * upper + down * lower);
        if (value > best) {
          best = value;
          labels[y * width + x] = k + 1;
        }
      }
    }
  }
  return labels;
}
