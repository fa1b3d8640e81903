// The network, away from the page: pictures come in with their times, predictions go back. See page.js for the other side.

import { load } from "./everyframe.js";

let model = null;

const TAKES = {
  async load({ from }) {
    model = await load(from, { onProgress: (done, of) => postMessage({ kind: "progress", done, of }) });
    return { kind: "ready", info: model.info };
  },
  reset({ live }) {
    model.reset({ live });
  },
  frame({ image, time, behind, sent }) {
    try {
      const steps = [...model.feed(image, time, behind ? 1 : Infinity)];
      return { kind: "steps", steps, sent };
    } finally {
      image.close?.();
    }
  },
  end() {
    return { kind: "steps", steps: [...model.end()], ended: true };
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
