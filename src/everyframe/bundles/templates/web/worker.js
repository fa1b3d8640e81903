// The network, away from the page: pictures come in with their times, predictions go back. See page.js for the other side.

import { load, planes } from "./everyframe.js";
import { playing, take } from "./messages.js";
import { Teacher } from "./teach.js";

let model = null, teacher = null, collecting = false;
let live = false, first = null; // a camera's times are counted from its first frame

const TAKES = {
  async load({ from }) {
    model = await load(from, { onProgress: (done, of) => postMessage({ kind: "progress", done, of }) });
    teacher = model.info.teach ? new Teacher(model) : null;
    return { kind: "ready", info: model.info };
  },
  reset(order) {
    collecting = false;
    [live, playing.run, first] = [order.live, order.run ?? playing.run, null];
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

take(TAKES);
