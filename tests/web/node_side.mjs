// What everyframe.js says of what it is given on standard input, for the tests.
//
//     node node_side.mjs FOLDER KIND < given.json > said.json

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, kind] = process.argv.slice(2);
const { load, Ticks, EventDetector } = await import(pathToFileURL(`${folder}/everyframe.js`));
const given = JSON.parse(readFileSync(0, "utf8"));

const model = async () => {
  const names = ["model.json", "model.weights", "relaxed.wasm", "simd128.wasm"];
  return load(Object.fromEntries(names.map((name) => [name, new Uint8Array(readFileSync(`${folder}/${name}`))])), { live: false });
};
const bytes = (base64) => new Uint8Array(Buffer.from(base64, "base64"));

const SAYS = {
  ticks: () =>
    given.map(({ times, duration, ...options }) => {
      const ticks = new Ticks(options), said = times.flatMap((time, i) => ticks.put(i, time));
      return [...said, ...ticks.rest(duration)].map(({ item }) => item);
    }),
  events: () =>
    given.map(({ rule, labels, rows }) => {
      const detector = new EventDetector(rule, labels);
      return rows.map(([scores, time]) => detector.update(scores, time)?.index ?? null);
    }),
  async pictures() {
    // the network's own frames, as they lie in its memory when it steps
    const made = await model();
    return given.map(({ data, live = true, ...picture }) => {
      made.reset({ live });
      return [...made.prepare({ data: bytes(data), ...picture })];
    });
  },
  async old() {
    WebAssembly.validate = () => false;
    return model().then(() => null, (error) => error.message);
  },
  async taught() {
    const { Teacher } = await import(pathToFileURL(`${folder}/teach.js`));
    const { personal, onnx } = await import(pathToFileURL(`${folder}/personal.js`));
    const made = await model(), teacher = new Teacher(made), { width, height, fps, clips } = given;
    for (const { label, frames } of clips) {
      teacher.begin(label);
      frames.forEach((data, i) => teacher.add({ data: bytes(data), width, height }, i / fps));
      teacher.end();
    }
    const learned = await teacher.learn(), info = personal(made.info, learned);
    made.become(info);
    const logits = clips[0].frames.flatMap((data, i) => [...made.feed({ data: bytes(data), width, height }, i / fps)]).map((each) => [...each.logits]);
    const file = await onnx(info, new Uint8Array(readFileSync(`${folder}/teach.graph`)));
    const head = Object.fromEntries(Object.entries(learned.head).map(([name, value]) => [name, typeof value === "number" ? value : [...value]]));
    return { ...learned, head, logits, onnx: Buffer.from(file).toString("base64") };
  },
  async video() {
    const made = await model(), { width, height, frames } = given;
    const said = frames.flatMap(({ data, time }) => [...made.feed({ data: bytes(data), width, height }, time)]);
    said.push(...made.end());
    return said.map(({ time, logits, event }) => ({ time, logits: [...logits], event }));
  },
};
console.log(JSON.stringify(await SAYS[kind]()));
