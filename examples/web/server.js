// A small static server for this folder. node server.js --model=FILE [--port=8000] [--host=127.0.0.1]

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".tflite": "application/octet-stream",
  ".wasm": "application/wasm",
};
const root = path.dirname(fileURLToPath(import.meta.url));
const options = readOptions();

function readOptions() {
  try {
    return parseArgs({
      options: {
        model: { type: "string" },
        port: { type: "string", default: "8000" },
        host: { type: "string", default: "127.0.0.1" },
      },
    }).values;
  } catch (error) {
    fail(`${error.message}; usage: node server.js --model=FILE [--port=8000] [--host=127.0.0.1]`);
  }
}

function fail(sentence) {
  console.error(`error: ${sentence}`);
  process.exit(2);
}

/** The file behind an address, or null: only files of the types above, and none outside. */
function fileOf(url) {
  let name;
  try {
    name = decodeURIComponent(new URL(url, "http://localhost").pathname);
  } catch {
    return null;
  }
  if (name === "/model.tflite" && options.model) return options.model;
  const file = path.join(root, name.endsWith("/") ? `${name}index.html` : name);
  const inside = file.startsWith(root + path.sep) && !name.includes("\0");
  return inside && path.extname(file) in TYPES ? file : null;
}

const server = createServer(async (request, response) => {
  const file = request.method === "GET" || request.method === "HEAD" ? fileOf(request.url) : null;
  const found = file && (await stat(file).catch(() => null));
  if (!found?.isFile()) {
    response.writeHead(404, { "Content-Type": "text/plain" }).end("not found\n");
    return;
  }
  response.writeHead(200, {
    "Content-Type": TYPES[path.extname(file)] ?? "application/octet-stream",
    "Content-Length": found.size,
    "Cache-Control": "no-cache",
  });
  if (request.method === "HEAD") response.end();
  else createReadStream(file).on("error", () => response.destroy()).pipe(response);
});

const port = Number(options.port);
if (!Number.isInteger(port) || port < 0 || port > 65535) fail(`--port=${options.port} is not a port`);
if (options.model && !(await stat(options.model).catch(() => null))?.isFile()) {
  fail(`--model=${options.model}: there is no such file`);
}
server.on("error", (error) => fail(`--host=${options.host} --port=${port}: ${error.message}`));
server.listen(port, options.host, () => {
  console.log(`http://${options.host}:${server.address().port}/`);
});
