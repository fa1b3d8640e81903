// The network, away from the page: pictures come in with their times, predictions go back. See page.js for the other side.

import { load, planes } from "./everyframe.js";
import { Teacher } from "./teach.js";

let model = null, teacher = null, collecting = false;
let run; // which playing it is: goes back with the answers, so that the page can tell late ones
let camera = null; // whose frames are taken
let live = false, first = null; // a camera's times are counted from its first frame

const TAKES = {
  async load({ from }) {
    model = await load(from, { onProgress: (done, of) => postMessage({ kind: "progress", done, of }) });
    teacher = model.info.teach ? new Teacher(model) : null;
    return { kind: "ready", info: model.info };
  },
  reset(order) {
    collecting = false;
    [live, run, first] = [order.live, order.run ?? run, null];
    model.reset({ live });
  },
  async frame({ image, time, sent }) {
    try {
      const picture = await planes(image);
      first ??= live ? time : 0;
      if (collecting) teacher.add(picture, time - first);
      return { kind: "steps", steps: collecting ? [] : [...model.feed(picture, time - first)], sent };
    } finally {
      image.close?.();
    }
  },
  end() {
    return { kind: "steps", steps: [...model.end()], ended: true };
  },
  // teaching: frames between `example` and `kept` are an example of a gesture; label null: of none
  example({ label, live }) {
    collecting = true;
    teacher.begin(label, { live });
  },
  kept() {
    collecting = false;
    try {
      return { kind: "example", ...teacher.end() };
    } catch (error) {
      return { kind: "example", problem: error.message };
    }
  },
  forget({ number }) {
    teacher.forget(number);
  },
  async learn() {
    try {
      return { kind: "learned", ...(await teacher.learn()) };
    } catch (error) {
      return { kind: "learned", problem: error.message };
    }
  },
  become({ info }) {
    model.become(info);
    return { kind: "became", info: model.info };
  },
};

// one after the other, as they came
let queue = Promise.resolve();
const turn = (data) => (queue = queue.then(async () => {
  try {
    const answer = await TAKES[data.kind](data);
    if (answer) postMessage({ ...answer, run });
  } catch (error) {
    postMessage({ kind: "error", message: error.message, run });
  }
}));
onmessage = ({ data }) => (data.kind === "camera" ? watch(data) : turn(data));

/** Frames straight from a camera, until there is another one or none: neither a busy page nor a hidden one is in their way. */
async function watch({ frames = null }) {
  const reader = (camera = frames?.getReader() ?? null);
  for (let next; reader && !(next = await reader.read()).done; ) {
    const { value: image } = next;
    if (camera !== reader) image.close(); // stopped: what it still held
    else await turn({ kind: "frame", image, time: image.timestamp / 1e6, sent: performance.timeOrigin + performance.now() });
  }
}
