// A .tflite file of std_keras, ready to run in the browser.

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

import { readDescription } from "./description.js";
import { centerSquare } from "./picture.js";

let runtime;

export class Classifier {
  /** @param {Uint8Array} file The whole .tflite file. */
  static async load(file) {
    const { labels, card } = readDescription(file);
    runtime ??= loadLiteRt(new URL("./node_modules/@litertjs/core/wasm/", import.meta.url).href);
    await runtime;
    const model = await loadAndCompile(file, { accelerator: "wasm" });
    const classifier = new Classifier(model, labels, card);
    const { size, channels } = classifier.wanted;
    await classifier.logits(new Uint8Array(size * size * channels)); // The first run is slower.
    return classifier;
  }

  constructor(model, labels, card) {
    this.model = model;
    this.labels = labels;
    this.card = card;
    this.wanted = {
      size: card.input.size,
      shortSide: card.input.resize.short_side,
      channels: card.input.channels,
    };
  }

  /**
   * @param {ImageBitmap} bitmap
   * @return {Promise<{pixels: Uint8Array, predictions: object[], milliseconds: number}>} The square
   *     that went in; label and probability of every class, the most probable first; and the time of
   *     the model alone.
   */
  async classify(bitmap) {
    const pixels = centerSquare(bitmap, this.wanted);
    const start = performance.now();
    const logits = await this.logits(pixels);
    const milliseconds = performance.now() - start;
    const largest = Math.max(...logits);
    const powers = logits.map((logit) => Math.exp(logit - largest));
    const total = powers.reduce((a, b) => a + b, 0);
    const predictions = this.labels.map((label, i) => ({ label, probability: powers[i] / total }));
    predictions.sort((a, b) => b.probability - a.probability);
    return { pixels, predictions, milliseconds };
  }

  /** Of size * size * channels pixels, one logit per class. */
  async logits(pixels) {
    const { size, channels } = this.wanted;
    const { dtype } = this.model.getInputDetails()[0];
    const values = dtype === "float32" ? Float32Array.from(pixels) : pixels;
    const input = new Tensor(values, [1, size, size, channels]);
    try {
      const [output] = await this.model.run([input]);
      const logits = Float64Array.from(await output.data());
      output.delete();
      return logits;
    } finally {
      input.delete();
    }
  }

  delete() {
    this.model.delete();
  }
}
