// A module in node: node hosted.mjs MODULE.wasm [WEIGHTS] < steps of frames > their answers, one after the other.

import { readFileSync, readSync, writeSync } from "node:fs";

const [path, weights] = process.argv.slice(2), code = readFileSync(path);
if (!WebAssembly.validate(code)) throw new Error("this node does not know the instructions of the module");
const net = new WebAssembly.Instance(new WebAssembly.Module(code), {}).exports;
net._initialize();
if (weights) new Uint8Array(net.memory.buffer, net.weights()).set(readFileSync(weights));
const error = net.start(net.weight_bytes());
if (error) throw new Error(`the weights are not those of the module (${error})`);

const size = 4 * net.frame_floats() * net.frames_a_step();
for (;;) {
  const frames = new Uint8Array(net.memory.buffer, net.frames(), size);
  for (let at = 0; at < size; ) {
    const more = readSync(0, frames, at, size - at, null);
    if (!more) process.exit(0);
    at += more;
  }
  if (net.step()) throw new Error("the step failed");
  const answers = new Uint8Array(net.memory.buffer, net.logits(), 4 * net.answers());
  for (let at = 0; at < answers.length; ) at += writeSync(1, answers, at);
}
