// The network on a server: the messages of worker.js, but frames go out by a WebSocket, as JPEGs or as a coded video, and predictions
// come back.

import { Film } from "./film.js";
import { playing, take } from "./messages.js";

const UNANSWERED = 2; // frames on their way; a camera's are left out then, a file's wait
const SIDE = [240, 2]; // pixels of the short side that is sent: at least, and times what the network looks at
const QUALITY = 0.85;
const SOONER = 0.6; // of the time between two ticks: a camera's frames that come sooner after each other are left out
const IDLE = 4408; // the server's word that no frames came for long

let server = null; // {address, token, coded: whether as a video}
let socket = null, canvas = null, info = null, film = null;
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
    if (film) film.due = true;
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
      if (!message) return { kind: "steps", steps: [], sent: begun };
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

/** As the server reads it: time, then width and height, then bytes; 0 and 0 say JPEG, 0 and 1 or 2 a picture of a coded video. */
async function packed(image, time) {
  const width = image.displayWidth ?? image.width, height = image.displayHeight ?? image.height;
  const scale = Math.min(1, Math.max(SIDE[0], SIDE[1] * Math.min(...(info.size ?? [SIDE[0]]))) / Math.min(width, height));
  const [w, h] = [width, height].map((side) => Math.max(2, 2 * Math.round(side * scale / 2)));
  if (canvas?.width !== w || canvas?.height !== h) canvas = new OffscreenCanvas(w, h);
  canvas.getContext("2d").drawImage(image, 0, 0, w, h);
  const coded = await film?.picture(canvas, time, info.rate).catch(() => (film = null)); // what it cannot do goes out as JPEG
  if (film && !coded) return null; // the encoder left it out
  const head = new DataView(new ArrayBuffer(12));
  head.setFloat64(0, time, true);
  head.setUint16(10, coded ? (coded.key ? 1 : 2) : 0, true);
  return new Blob([head, coded?.data ?? (await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY }))]).arrayBuffer();
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
      if (message.type === "ready") begun(message).then(resolve, reject);
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

/** The server's first words. */
async function begun({ model, codecs }) {
  learn(model);
  film?.close();
  film = server.coded ? await Film.of(codecs) : null;
  if (!film) return;
  flying.push({ order: "video" });
  socket?.send(JSON.stringify({ type: "video", codec: film.codec }));
}

function learn(model) {
  info = { ...model, teach: null };
}

const HEARD = {
  answer({ frame, predictions, key }) {
    if (key && film) film.due = true;
    const index = flying.findIndex((each) => each.number === frame), [{ begun, run: of }] = flying.splice(0, index + 1).slice(-1);
    landed();
    postMessage({ kind: "steps", steps: predictions.map(read), sent: begun, run: of });
  },
  video() {
    flying.splice(0, flying.findIndex((each) => each.order === "video") + 1);
    landed();
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
