// The network on a server: the messages of worker.js, but frames go out as JPEG by a WebSocket and predictions come back.

import { playing, take } from "./messages.js";

const UNANSWERED = 2; // frames on their way; a camera's are left out then, a file's wait
const SIDE = [240, 2]; // pixels of the short side that is sent: at least, and times what the network looks at
const QUALITY = 0.85;
const SOONER = 0.6; // of the time between two ticks: a camera's frames that come sooner after each other are left out
const IDLE = 4408; // the server's word that no frames came for long

let server = null; // {address, token}
let socket = null, canvas = null, info = null;
let live = false, first = null, last = -Infinity;
let sent = 0, flying = [], landed = () => {}; // of this socket: frames so far, those that are not answered, who waits for that

const TAKES = {
  async load({ from }) {
    server = from;
    await connected();
    return { kind: "ready", info };
  },
  async reset(order) {
    [live, playing.run, first, last] = [order.live, order.run ?? playing.run, null, -Infinity];
    await connected();
    flying.push({ order: "reset" });
    socket.send(JSON.stringify({ type: "reset", live }));
  },
  async frame({ image, time, sent: begun }) {
    try {
      first ??= live ? time : 0;
      const at = time - first, full = () => flying.length >= UNANSWERED;
      if (live && (full() || at - last < SOONER / info.rate)) return { kind: "steps", steps: [], sent: begun };
      last = at;
      const message = await packed(image, at);
      while (full()) await new Promise((resolve) => (landed = resolve));
      await connected();
      flying.push({ number: sent++, begun, run: playing.run });
      socket.send(message);
    } finally {
      image.close?.();
    }
  },
  async end() {
    await connected();
    flying.push({ order: "end", run: playing.run });
    socket.send('{"type": "end"}');
  },
};

/** As the server reads it: time, then width and height (0: a JPEG), then bytes. */
async function packed(image, time) {
  const width = image.displayWidth ?? image.width, height = image.displayHeight ?? image.height;
  const scale = Math.min(1, Math.max(SIDE[0], SIDE[1] * Math.min(...(info.size ?? [SIDE[0]]))) / Math.min(width, height));
  const [w, h] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  if (canvas?.width !== w || canvas?.height !== h) canvas = new OffscreenCanvas(w, h);
  canvas.getContext("2d").drawImage(image, 0, 0, w, h);
  const head = new DataView(new ArrayBuffer(12));
  head.setFloat64(0, time, true);
  return new Blob([head, await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY })]).arrayBuffer();
}

/** An open connection, the one that is there or a new one. */
function connected() {
  if (socket?.readyState === WebSocket.OPEN && info) return;
  return new Promise((resolve, reject) => {
    const mine = (socket = new WebSocket(server.address));
    [sent, flying, info] = [0, [], null];
    mine.onopen = () => server.token && mine.send(JSON.stringify({ token: server.token }));
    mine.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "ready") resolve(learn(message.model));
      else if (message.type === "closing") mine.reason = message.error.what;
      else if (mine === socket) HEARD[message.type](message);
    };
    mine.onclose = ({ code }) => {
      const words = new Error(mine.reason ?? "The server does not answer: is it still running?");
      reject(words);
      if (mine !== socket) return;
      socket = null;
      landed();
      if (code !== IDLE || playing.camera) postMessage({ kind: "error", message: words.message, run: playing.run });
    };
  });
}

function learn(model) {
  info = { ...model, teach: null };
}

const HEARD = {
  answer({ frame, predictions }) {
    const index = flying.findIndex((each) => each.number === frame), [{ begun, run: of }] = flying.splice(0, index + 1).slice(-1);
    landed();
    postMessage({ kind: "steps", steps: predictions.map(read), sent: begun, run: of });
  },
  reset() {
    flying.splice(0, flying.findIndex((each) => each.order === "reset") + 1);
    landed();
  },
  end({ predictions }) {
    const [{ run: of }] = flying.splice(0, flying.findIndex((each) => each.order === "end") + 1).slice(-1);
    postMessage({ kind: "steps", steps: predictions.map(read), ended: true, run: of });
  },
  swapped({ model }) {
    learn({ ...info, ...model });
    postMessage({ kind: "became", info, run: playing.run });
  },
  error({ error }) {
    postMessage({ kind: "error", message: error.what, run: playing.run });
  },
};

/** A prediction as the page shows it. */
function read({ frame, pts_s: time, scores, top: [top], event, step_ms: stepMs }) {
  return { frame, time, scores, top, event: event ? { ...event, time: event.pts_s } : null, stepMs };
}

take(TAKES);
