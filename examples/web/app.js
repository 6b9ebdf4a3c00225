// The page: picks, pastes or drops a picture, and shows what the model says.

import { Classifier } from "./classifier.js";

const SHOWN = 5;
const $ = (id) => document.getElementById(id);
let classifier = null;
let latest = 0; // Of several pictures in a row, the last one counts.

async function useModel(file, name) {
  $("status").textContent = "Loading the model …";
  $("picture").disabled = true;
  showError("");
  try {
    const next = await Classifier.load(file);
    classifier?.delete();
    classifier = next;
  } catch (error) {
    showError(error.message);
  }
  if (!classifier) {
    $("status").textContent = "There is no model yet.";
    return;
  }
  const { card, labels } = classifier;
  const right = card.accuracy ? `, right on ${percent(card.accuracy.top1)} of test images` : "";
  $("about").textContent =
    `${name}: ${card.name} trained on ${card.dataset}, ${labels.length} classes${right}.`;
  $("status").textContent = "Ready. Everything runs in your browser.";
  $("picture").disabled = false;
}

async function usePicture(blob) {
  if (!classifier) return;
  const mine = ++latest;
  showError("");
  try {
    // The picture's own numbers, upright: no colour management, as on the desktop.
    const bitmap = await createImageBitmap(blob, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
    const result = await classifier.classify(bitmap);
    bitmap.close();
    if (mine === latest) show(blob, result);
  } catch (error) {
    if (mine !== latest) return;
    clear();
    showError(
      error instanceof DOMException ? "This is not a picture that can be read." : error.message,
    );
  }
}

function show(blob, { pixels, predictions, milliseconds }) {
  URL.revokeObjectURL($("preview").src);
  $("preview").src = URL.createObjectURL(blob);
  $("preview").alt = `A picture: ${predictions[0].label}`;
  $("preview").hidden = false;
  $("invitation").hidden = true;
  $("drop").classList.add("full");
  drawSquare(pixels);
  $("answer").replaceChildren(...predictions.slice(0, SHOWN).map(answerLine));
  $("time").textContent = `The model took ${milliseconds.toFixed(1)} ms.`;
}

function clear() {
  $("preview").hidden = $("seen").hidden = true;
  $("invitation").hidden = false;
  $("drop").classList.remove("full");
  $("answer").replaceChildren();
  $("time").textContent = "";
}

function answerLine({ label, probability }) {
  const line = document.createElement("li");
  line.dataset.label = label;
  line.dataset.probability = probability;
  const parts = ["bar", "label", "percent"].map((name) => {
    const part = document.createElement("span");
    part.className = name;
    return part;
  });
  parts[0].style.width = `${100 * probability}%`;
  parts[1].textContent = label.replaceAll("_", " ");
  parts[2].textContent = percent(probability);
  line.append(...parts);
  return line;
}

function drawSquare(pixels) {
  const { size, channels } = classifier.wanted;
  const image = new ImageData(size, size);
  for (let i = 0; i < size * size; i += 1) {
    for (let c = 0; c < 3; c += 1) {
      image.data[4 * i + c] = pixels[i * channels + Math.min(c, channels - 1)];
    }
    image.data[4 * i + 3] = 255;
  }
  $("square").width = $("square").height = size;
  $("square").getContext("2d").putImageData(image, 0, 0);
  $("side").textContent = size;
  $("seen").hidden = false;
}

function percent(fraction) {
  return `${(100 * fraction).toFixed(1)} %`;
}

function showError(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

async function bytes(source) {
  return new Uint8Array(await source.arrayBuffer());
}

$("picture").addEventListener("change", ({ target }) => {
  if (target.files.length) usePicture(target.files[0]);
  target.value = ""; // So that the same file can be chosen again.
});
$("model").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  if (file) await useModel(await bytes(file), file.name);
  target.value = "";
});
document.addEventListener("paste", ({ clipboardData }) => {
  const [file] = clipboardData.files;
  if (file) usePicture(file);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) usePicture(file);
});

const response = await fetch("model.tflite").catch(() => null);
if (response?.ok) {
  await useModel(await bytes(response), "model.tflite");
} else {
  $("status").textContent = "There is no model yet.";
  showError("The server has no model.tflite; choose a file below.");
}
