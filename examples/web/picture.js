// From any picture that the browser can decode to the square of pixels that the model wants: the
// arithmetic of std_keras/exporting/classifying/picture.py, so that page and desktop agree.

const STRIP = 256; // Rows that are read at a time: phones limit the size of a canvas.

/**
 * The short side is scaled to `shortSide` (bicubic, antialiased), then a square is cut from the
 * centre.
 *
 * @param {ImageBitmap} bitmap
 * @param {{size: number, shortSide: number, channels: number}} wanted
 * @return {Uint8Array} size * size * channels values, row by row, channels last.
 */
export function centerSquare(bitmap, { size, shortSide, channels }) {
  const { width, height } = bitmap;
  if (width === size && height === size) return readRows(bitmap, 0, 0, size, size, channels);
  const smaller = Math.min(width, height);
  const across = taps(width, smaller, size, shortSide);
  const down = taps(height, smaller, size, shortSide);

  // First along the rows, then along the columns.
  const columns = new Float32Array((down.last - down.first) * size * channels);
  const stride = (across.last - across.first) * channels;
  for (let top = down.first; top < down.last; top += STRIP) {
    const rows = Math.min(STRIP, down.last - top);
    const pixels = readRows(bitmap, across.first, top, across.last - across.first, rows, channels);
    for (let y = 0; y < rows; y += 1) {
      for (let x = 0; x < size; x += 1) {
        const { start, weights } = across.of[x];
        for (let c = 0; c < channels; c += 1) {
          let sum = 0;
          for (let i = 0; i < weights.length; i += 1) {
            sum += weights[i] * pixels[y * stride + (start - across.first + i) * channels + c];
          }
          columns[((top - down.first + y) * size + x) * channels + c] = sum;
        }
      }
    }
  }
  const square = new Uint8Array(size * size * channels);
  const row = size * channels;
  for (let y = 0; y < size; y += 1) {
    const { start, weights } = down.of[y];
    for (let j = 0; j < row; j += 1) {
      let sum = 0;
      for (let i = 0; i < weights.length; i += 1) {
        sum += weights[i] * columns[(start - down.first + i) * row + j];
      }
      square[y * row + j] = toByte(Math.fround(sum));
    }
  }
  return square;
}

/** For each of `size` output pixels of one axis: its first input pixel, and all weights. */
function taps(length, smaller, size, shortSide) {
  const scaled = Math.floor((length * shortSide) / smaller);
  const offset = Math.floor((scaled - size) / 2);
  const scale = length / scaled;
  const stretch = Math.max(scale, 1);
  const of = [];
  for (let i = 0; i < size; i += 1) {
    const center = (offset + i + 0.5) * scale;
    const start = Math.max(Math.trunc(center - 2 * stretch + 0.5), 0);
    const stop = Math.min(Math.trunc(center + 2 * stretch + 0.5), length);
    const weights = new Float64Array(stop - start);
    for (let k = start; k < stop; k += 1) weights[k - start] = cubic((k + 0.5 - center) / stretch);
    const total = weights.reduce((a, b) => a + b, 0);
    of.push({ start, weights: weights.map((weight) => weight / total) });
  }
  return { first: of[0].start, last: of[size - 1].start + of[size - 1].weights.length, of };
}

/** Keys' cubic with a = -0.5. */
function cubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

/** Clips, and rounds halves to the even neighbour, as NumPy does. */
function toByte(value) {
  const rounded = Math.round(value);
  const even = rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
  return Math.min(Math.max(even, 0), 255);
}

function readRows(bitmap, left, top, width, height, channels) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // What is transparent lies over white, as on the desktop.
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, -left, -top);
  const rgba = context.getImageData(0, 0, width, height).data;
  const pixels = new Uint8Array(width * height * channels);
  for (let i = 0; i < width * height; i += 1) {
    const [r, g, b] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
    if (channels === 1) {
      pixels[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16; // Pillow's weights.
    } else {
      pixels.set([r, g, b], 3 * i);
    }
  }
  return pixels;
}
