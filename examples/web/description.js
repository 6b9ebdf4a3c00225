// What a .tflite file of std_keras says about itself. Behind the model lies a zip archive with
// labels.txt and std_keras.json, both stored without compression.

const END = 0x06054b50;
const ENTRY = 0x02014b50;

/**
 * @param {Uint8Array} file The whole .tflite file.
 * @return {{labels: string[], card: object}} Class names in the order of the logits, and
 *     std_keras.json.
 */
export function readDescription(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 8 || new TextDecoder().decode(file.subarray(4, 8)) !== "TFL3") {
    throw new Error("This is not a TFLite file.");
  }
  const files = storedFiles(file, view);
  if (!files.has("labels.txt") || !files.has("std_keras.json")) {
    throw new Error(
      "This file contains no labels; export it again with std-keras export.",
    );
  }
  const labels = files.get("labels.txt").replace(/\n$/, "").split("\n");
  const card = JSON.parse(files.get("std_keras.json"));
  if (card.format !== 1) {
    throw new Error(`This file has a description of format ${card.format}; the page reads 1.`);
  }
  return { labels, card };
}

function storedFiles(file, view) {
  const files = new Map();
  let end = file.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end -= 1;
  if (end < 0) return files;
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left -= 1) {
    if (view.getUint32(at, true) !== ENTRY) break;
    const compressed = view.getUint16(at + 10, true) !== 0;
    const size = view.getUint32(at + 24, true);
    const [name, extra, comment] = [28, 30, 32].map((i) => view.getUint16(at + i, true));
    const header = view.getUint32(at + 42, true);
    const start =
      header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    const text = (from, length) => new TextDecoder().decode(file.subarray(from, from + length));
    if (!compressed) files.set(text(at + 46, name), text(start, size));
    at += 46 + name + extra + comment;
  }
  return files;
}
