// A stream outside of Python, for modules of WebAssembly; speaks as driver.c does.
//
//     node driver.mjs MODULE.wasm THREADS WEIGHTS < frames > logits

import { readFileSync, writeSync } from "node:fs";

const [path, , weights] = process.argv.slice(2);
const module = new WebAssembly.Module(readFileSync(path));
if (WebAssembly.Module.imports(module).length) process.exit(102);
const net = new WebAssembly.Instance(module, {}).exports;
net._initialize();
const bytes = readFileSync(weights).subarray(0, net.weight_bytes());
new Uint8Array(net.memory.buffer, net.weights()).set(bytes);
const error = net.start(bytes.length);
if (error) process.exit(-error);
const video = readFileSync(0), size = 4 * net.frame_floats() * net.frames_a_step();
for (let pass = 0; pass < 2; pass++) {
  for (let at = 0; at + size <= video.length; at += size) {
    new Uint8Array(net.memory.buffer, net.frames(), size).set(video.subarray(at, at + size));
    if (net.step()) process.exit(101);
    writeSync(1, new Uint8Array(net.memory.buffer, net.logits(), 4 * net.classes()));
  }
  net.reset();
}
