// The network, away from the page: pictures come in with their times, predictions go back. See page.js for the other side.

import { load } from "./everyframe.js";
import { Teacher } from "./teach.js";

let model = null, teacher = null, collecting = false;

const TAKES = {
  async load({ from }) {
    model = await load(from, { onProgress: (done, of) => postMessage({ kind: "progress", done, of }) });
    teacher = model.info.teach ? new Teacher(model) : null;
    return { kind: "ready", info: model.info };
  },
  reset({ live }) {
    collecting = false;
    model.reset({ live });
  },
  frame({ image, time, behind, sent }) {
    try {
      if (collecting) teacher.add(image, time);
      return { kind: "steps", steps: collecting ? [] : [...model.feed(image, time, behind ? 1 : Infinity)], sent };
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

// one after the other, as they came; run: which playing they belong to, so that the page can tell late answers
let queue = Promise.resolve();
onmessage = ({ data }) => {
  queue = queue.then(async () => {
    try {
      const answer = await TAKES[data.kind](data);
      if (answer) postMessage({ ...answer, run: data.run });
    } catch (error) {
      postMessage({ kind: "error", message: error.message, run: data.run });
    }
  });
};
