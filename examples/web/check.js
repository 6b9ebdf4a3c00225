// Uses the page as a person would, in a headless Chromium, and prints what it showed as JSON.
//   node check.js --url=URL [--screenshots=FOLDER] PICTURE...
// Chromium is found as `chromium`, or at the path in the variable CHROMIUM.

import { readFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";

import { chromium } from "playwright-core";

const { values, positionals } = parseArgs({
  options: { url: { type: "string" }, screenshots: { type: "string" } },
  allowPositionals: true,
});
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"], // Containers have no user namespaces; only our own page is opened.
});
try {
  const page = await browser.newPage();
  const problems = [];
  const hosts = new Set();
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => {
    const chatter = /^(INFO|WARNING): /.test(message.text()); // Of the runtime.
    if (message.type() === "error" && !chatter) problems.push(message.text());
  });
  page.on("request", (request) => {
    if (request.url().startsWith("http")) hosts.add(new URL(request.url()).host);
  });
  await page.goto(values.url);
  await page.waitForFunction(() => !document.getElementById("status").textContent.includes("…"));

  const seen = [];
  for (const picture of positionals) {
    for (const way of [pick, paste, drop]) {
      await way(page, picture);
      seen.push({ picture, way: way.name, ...(await answer(page)) });
    }
  }
  if (values.screenshots) {
    for (const [name, width, height, dark] of [
      ["phone", 390, 844, false],
      ["desktop", 1280, 800, false],
      ["phone_dark", 390, 844, true],
    ]) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
      await page.screenshot({ path: path.join(values.screenshots, `${name}.png`) });
    }
  }
  const texts = await page.evaluate(() =>
    Object.fromEntries(
      ["status", "about", "error"].map((id) => [id, document.getElementById(id).textContent]),
    ),
  );
  console.log(JSON.stringify({ ...texts, hosts: [...hosts], problems, seen }));
} finally {
  await browser.close();
}

/** Through the file dialog. */
async function pick(page, picture) {
  await page.setInputFiles("#picture", []);
  await forget(page);
  await page.setInputFiles("#picture", picture);
}

/** As the clipboard hands a copied picture to the page. */
async function paste(page, picture) {
  await forget(page);
  await dispatch(page, picture, "paste");
}

/** As a file manager does. */
async function drop(page, picture) {
  await forget(page);
  await dispatch(page, picture, "drop");
}

async function dispatch(page, picture, kind) {
  const content = (await readFile(picture)).toString("base64");
  await page.evaluate(
    ([text, name, type]) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
      const options = { bubbles: true, cancelable: true };
      document.body.dispatchEvent(
        type === "paste"
          ? new ClipboardEvent(type, { ...options, clipboardData: data })
          : new DragEvent(type, { ...options, dataTransfer: data }),
      );
    },
    [content, path.basename(picture), kind],
  );
}

async function forget(page) {
  await page.evaluate(() => {
    document.getElementById("answer").replaceChildren();
    document.getElementById("error").hidden = true;
  });
}

/** What the page shows, once it shows something: predictions and the square, or an error. */
async function answer(page) {
  await page.waitForFunction(
    () => document.querySelector("#answer li") || !document.getElementById("error").hidden,
  );
  return page.evaluate(() => {
    const error = document.getElementById("error");
    if (!error.hidden) return { error: error.textContent };
    const lines = [...document.querySelectorAll("#answer li")];
    const square = document.getElementById("square");
    const { data } = square.getContext("2d").getImageData(0, 0, square.width, square.height);
    return {
      predictions: lines.map(({ dataset }) => ({
        label: dataset.label,
        probability: Number(dataset.probability),
      })),
      time: document.getElementById("time").textContent,
      pixels: [...data].filter((_, i) => i % 4 !== 3),
    };
  });
}
