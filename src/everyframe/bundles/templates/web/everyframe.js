// A step network in a browser: frames in, a prediction per step out. No framework, no server, no dependency.
//
//     import { load } from "./everyframe.js";
//     const model = await load("model.json");
//     const prediction = model.step(video, seconds);      // null until the network has seen enough
//     if (prediction?.event) console.log(prediction.event.label);

const LIVE_GAP = 1e6; // microseconds: a camera that stalls for longer is not filled up with repeats of its last frame
const TREMBLE = 1e5; // a step back of the clock up to this is one that trembles; a longer one set it anew
const LEFT = 0.25; // of a color's width: colors of files lie so much farther left than the middle of their four pixels, as encoders say
const FORGETS = 0.97; // of what a tick cost, at each further one
const KEPT_FROM = 4e6; // bytes: larger weights are kept by the browser between visits

/** Reads a model. from: the address of its model.json; or its files by name, as bytes. onProgress(done, of): bytes of weights. */
export async function load(from, { onProgress = () => {}, live = true } = {}) {
  const files = typeof from === "string" || from instanceof URL ? fetched(new URL(from, globalThis.location?.href)) : held(from);
  const info = JSON.parse(new TextDecoder().decode(await files.get("model.json")));
  const weights = files.get("model.weights", { ...info, onProgress });
  weights.catch(() => {}); // said below, where it is awaited
  let code = await files.get("relaxed.wasm");
  if (!WebAssembly.validate(code)) code = await files.get("simd128.wasm");
  if (!WebAssembly.validate(code)) throw new Error("This browser has no SIMD in WebAssembly. Any one from 2023 or later has it.");
  const { instance } = await WebAssembly.instantiate(code, {});
  return new Model(info, instance.exports, await weights, live);
}

/** A model with its state: one video. Labels, preprocessing and event rule are those of the file it was made from. */
export class Model {
  #net;
  #canvas = null;
  #spent = { ms: 0, ticks: 10 }; // lately: whether this machine keeps up
  #head = null; // of its own gestures, instead of the network's

  constructor(info, net, weights, live) {
    this.live = live;
    this.#net = net;
    net._initialize();
    if (weights.length !== net.weight_bytes()) throw new Error("The weights do not belong to this model: load the page again.");
    new Uint8Array(net.memory.buffer, net.weights()).set(weights);
    if (net.start(weights.length)) throw new Error("The weights are damaged: load the page again.");
    this.become(info);
  }

  /** Other labels, event rule and head: what Teacher.learn gives, or an `info` of before. Forgets everything. */
  become({ labels, events, head, ...more }) {
    this.info = { ...this.info, ...more, labels, events, head };
    this.labels = labels;
    this.#head = head && Object.fromEntries(Object.entries(head).map(([name, value]) => [name, typeof value === "number" ? value : floats(value)]));
    this.reset();
  }

  /** Forgets everything: the next frame is the first. live: frames come as they happen, rather than from a file. */
  reset({ live = this.live } = {}) {
    this.live = live;
    this.#net.reset();
    this.frames = 0; // that the network took, the newest step included
    this.waiting = 0; // of a step that is not full
    this.ticks?.last?.item.close();
    this.ticks = new Ticks({ ...this.info, live });
    this.detector = this.info.events ? new EventDetector(this.info.events, this.labels) : null;
  }

  /**
   * One frame: a picture (video, canvas, ImageBitmap, VideoFrame or ImageData) or the network's own numbers (Float32Array).
   * time: seconds. A picture is used where it lies nearest to the network's ticks, perhaps several times; numbers always.
   * Returns the newest prediction, with the event of this call, or null.
   */
  step(frame, time) {
    const made = frame instanceof Float32Array ? [this.#numbers(frame, time)] : [...this.feed(frame, time)];
    const newest = made.filter(Boolean).at(-1) ?? null;
    return newest && { ...newest, event: made.find((each) => each?.event)?.event ?? null };
  }

  /** All predictions that a picture with its time gives: one a step. Where the machine does not keep up with a camera, the newest. */
  *feed(picture, time) {
    const { ticks } = this, before = ticks.last?.item, item = new Seen(this, picture);
    try {
      const due = ticks.put(item, time), { ms, ticks: count } = this.#spent;
      yield* this.#run(this.live && ticks.fps && 1e3 * ms > count * ticks.length ? due.slice(-1) : due);
    } finally {
      for (const each of [before, item]) if (each !== ticks.last?.item) each?.close();
    }
  }

  /** And those that are still to come when no more pictures do. */
  *end() {
    yield* this.#run(this.ticks.rest());
  }

  /** What the classifier reads, at each step: a Float32Array. frames: prepared. Forgets everything before and after. */
  *features(frames) {
    const { memory, logits, classes, answers } = this.#net;
    this.reset();
    for (const frame of frames) {
      this.#slot().set(frame);
      if (this.#step() !== null) yield Float32Array.from(new Float32Array(memory.buffer, logits() + 4 * classes(), answers() - classes()));
    }
    this.reset();
  }

  *#run(due) {
    for (const { item, time } of due) {
      const begun = performance.now(), { frame } = item; // may move the memory
      this.#slot().set(frame);
      const made = this.#take(time), { ms, ticks } = this.#spent;
      this.#spent = { ms: FORGETS * ms + performance.now() - begun, ticks: FORGETS * ticks + 1 };
      if (made) yield made;
    }
  }

  /** Where the next frame of a step lies, (C, H, W). */
  #slot() {
    const { memory, frames, frame_floats } = this.#net;
    return new Float32Array(memory.buffer, frames() + 4 * this.waiting * frame_floats(), frame_floats());
  }

  #numbers(values, time) {
    const { memory, frames, frame_floats, frames_a_step } = this.#net;
    const wanted = frame_floats() * frames_a_step();
    if (values.length !== wanted) throw new Error(`A step takes ${wanted} numbers, not ${values.length}.`);
    new Float32Array(memory.buffer, frames(), wanted).set(values);
    this.waiting = frames_a_step() - 1;
    return this.#take(time ?? this.frames / this.info.rate);
  }

  /** A picture as {data, width, height}, 4 bytes a pixel, or what `planes` gives. */
  #pixels(picture) {
    if (picture.data && picture.width) return picture;
    const width = picture.videoWidth ?? picture.displayWidth ?? picture.naturalWidth ?? picture.width;
    const height = picture.videoHeight ?? picture.displayHeight ?? picture.naturalHeight ?? picture.height;
    if (!width || !height) throw new Error("The picture is empty: wait until the video plays.");
    if (this.#canvas?.width !== width || this.#canvas?.height !== height) this.#canvas = new OffscreenCanvas(width, height);
    const context = this.#canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  }

  /** Resized, cropped, in the network's color and scale, as everyframe does it in Python: (C, H, W). */
  prepare(picture) {
    const { data, width, height, layout = 0, turn = 0, shares = [0, 0], full = true } = this.#pixels(picture);
    const [cropH, cropW] = this.info.size, [h, w] = resized(...(turn & 1 ? [width, height] : [height, width]), this.info.resize);
    if (cropH > h || cropW > w) throw new Error(`The picture has ${width} x ${height} pixels, too few for this model (${cropW} x ${cropH}).`);
    if (!this.info.crop && (cropH !== h || cropW !== w)) throw new Error(`This model takes pictures of ${cropW} x ${cropH} pixels only.`);
    const at = this.#net.pixels(data.length, width, height);
    if (!at) throw new Error("There is not enough memory for a picture of this size.");
    new Uint8Array(this.#net.memory.buffer, at, data.length).set(data);
    const shift = this.live ? 0 : LEFT;
    this.#net.prepare(width, height, w, h, (h - cropH) >> 1, (w - cropW) >> 1, this.waiting, turn, layout, ...shares, full, shift);
    return this.#slot().slice();
  }

  /** Milliseconds of the step, where this frame makes it full. */
  #step() {
    const { frames_a_step, step } = this.#net;
    if (++this.waiting < frames_a_step()) return null;
    this.waiting = 0;
    this.frames += frames_a_step();
    const begun = performance.now();
    if (step()) throw new Error("The network failed.");
    return performance.now() - begun;
  }

  #take(time) {
    const stepMs = this.#step();
    if (stepMs === null || this.frames - 1 < this.info.feature_delay) return null;
    const { scores: kind, task } = this.info, said = this.#answer();
    if (!said.every(Number.isFinite)) throw new Error("The network's output is not finite. Reset it.");
    const cooled = said.map((logit) => logit / (this.info.temperature ?? 1));
    const scores = this.#head ? softmax(said) : kind === "probabilities" ? said : SCORES[task](cooled);
    const index = scores.indexOf(Math.max(...scores));
    const event = this.detector?.update(scores, time) ?? null;
    return { frame: this.frames - 1, time, scores, logits: said, top: { label: this.labels[index], index, score: scores[index] }, event, stepMs };
  }

  /** The newest logits: the network's, or those of the head on its features. */
  #answer() {
    const { memory, logits, classes, answers } = this.#net, all = new Float32Array(memory.buffer, logits(), answers());
    if (!this.#head) return all.slice(0, classes());
    const { weight, bias } = this.#head, features = all.subarray(classes());
    const said = bias.map((sum, k) => features.reduce((total, value, j) => total + value * weight[k * features.length + j], sum));
    said[0] += beyond(this.#head, features);
    return said;
  }
}

const LAYOUTS = { I420: 1, NV12: 2 };
const SHARES = { bt709: [0.2126, 0.0722], "bt2020-ncl": [0.2627, 0.0593] }; // of red and blue in brightness; else BT.601's
const TURNS = { 0: 0, 90: 5, 180: 6, 270: 3 }; // clockwise: axes exchanged (1), then mirrored up-down (2) and left-right (4)

/**
 * What a VideoFrame holds, to be given to a model in its place: its colors as they are, rather than as the browser shows them. Other
 * pictures, and frames that the browser keeps to itself, are given back.
 */
export async function planes(picture) {
  const layout = LAYOUTS[picture.format], { visibleRect, colorSpace, rotation = 0, flip = false } = picture;
  if (!layout) return picture;
  const data = new Uint8Array(picture.allocationSize());
  const copied = await picture.copyTo(data).then(() => true, () => false); // not where it is cut between two colors
  if (!copied) return picture;
  const shares = SHARES[colorSpace.matrix] ?? [0.299, 0.114];
  return { data, width: visibleRect.width, height: visibleRect.height, layout, turn: TURNS[rotation] ^ (4 * flip), shares, full: colorSpace.fullRange };
}

/** A picture, and what the network sees of it, which is made when it is needed: of most pictures of a fast camera it never is. */
class Seen {
  #own = null;
  #frame = null;

  constructor(model, picture) {
    this.model = model;
    if (picture.layout) this.#own = picture;
    else if (globalThis.VideoFrame && picture instanceof VideoFrame) this.#own = picture.clone();
    else this.#frame = model.prepare(picture); // it may show something else later
  }

  get frame() {
    return (this.#frame ??= this.model.prepare(this.#own));
  }

  close() {
    this.#own?.close?.();
  }
}


/** What the background's logit gains where features lie farther from every taught gesture than the limit, of `steep` at
 * twice the limit. means: one behind the other. */
export function beyond({ scale, center, means, limit, steep = 8 }, features) {
  const z = Array.from(features, (value, j) => value * scale[j] - center[j]);
  let nearest = Infinity;
  for (let at = 0; at < means.length; at += z.length) {
    nearest = Math.min(nearest, z.reduce((total, value, j) => total + (value - means[at + j]) ** 2, 0));
  }
  return steep * Math.max(0, nearest / limit - 1);
}

/** Which frames a network sees: for each tick n/fps, counted from the first, the one nearest in time; or every n-th. */
export class Ticks {
  #tick = 0; // the next one without a frame
  #time = 0; // of the last frame, in microseconds since the first
  #origin = 0;
  #count = 0;

  /** fps: [numerator, denominator] or null. live: a stall is skipped, and nothing waits for the frame after. */
  constructor({ fps = null, sample_every_n: every = 1, live = false }) {
    [this.fps, this.every, this.live, this.last] = [fps, every ?? 1, live, null];
    this.length = fps ? (1e6 * fps[1]) / fps[0] : 0;
    this.gap = this.length;
  }

  /** The frames that are due now, [{item, time}]: this one or the one before, perhaps several times. time: seconds. */
  put(item, time) {
    const frame = { item, time }, number = this.#count++;
    if (!this.fps) return number % this.every ? [] : [frame];
    const since = this.#since(Math.round(time * 1e6)), last = this.last, due = [];
    this.last = frame;
    if (last) {
      this.gap = since - this.#time;
      if (this.live && this.gap > LIVE_GAP) this.#tick = Math.max(this.#tick, Math.floor((since + 1) / this.length));
      this.#until((this.#time + since) / 2, last, due);
    }
    this.#time = since;
    // bet on the next frame to come after the same gap rather than to wait for it
    this.#until(this.live ? since + Math.min(this.gap, this.length) / 2 : since, frame, due);
    return due;
  }

  /** What a file's last frame still owes: it is shown for its duration (seconds). */
  rest(duration = this.gap / 1e6) {
    const due = [];
    if (this.fps && this.last && !this.live) this.#until(this.#time + duration * 1e6 - this.length / 4 - 2, this.last, due);
    return due;
  }

  #until(time, frame, due) {
    const [numerator, denominator] = this.fps; // times are rounded to microseconds: hence one more
    for (; this.#tick * denominator * 1e6 <= (time + 1) * numerator; this.#tick++) due.push(frame);
  }

  #since(time) {
    if (!this.last) this.#origin = time;
    const since = time - this.#origin;
    if (since >= this.#time) return since;
    const step = this.#time - since <= TREMBLE ? 0 : Math.max(this.gap, this.length);
    if (step) this.#origin += since - this.#time - step;
    return this.#time + step;
  }
}

/** From scores at every step to single events: threshold, hold, refractory time, re-arm on the background. */
export class EventDetector {
  constructor(rule, labels) {
    [this.rule, this.labels, this.background] = [rule, labels, labels.indexOf(rule.background)];
    [this.armed, this.last, this.leader, this.streak] = [true, -Infinity, -1, 0];
  }

  /** scores: probabilities of the step whose newest frame was shown at `time`, seconds. Returns {label, index, score, time} or null. */
  update(scores, time) {
    const { background, threshold, hold_steps, refractory_s, rearm } = { ...this.rule, background: this.background };
    if (scores[background] >= rearm) this.armed = true;
    const index = scores.every(Number.isFinite) ? scores.indexOf(Math.max(...scores)) : -1;
    if (index < 0 || index === background || scores[index] < threshold) {
      [this.leader, this.streak] = [-1, 0];
      return null;
    }
    this.streak = index === this.leader ? this.streak + 1 : 1;
    this.leader = index;
    if (this.streak < hold_steps || !this.armed || time - this.last < refractory_s) return null;
    [this.armed, this.last] = [false, time];
    return { label: this.labels[index], index, score: scores[index], time };
  }
}

/** Numbers, or their bytes as base64. */
const floats = (given) => (typeof given === "string" ? new Float32Array(Uint8Array.from(atob(given), (c) => c.charCodeAt(0)).buffer) : given);

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const SCORES = { classify: softmax, frames: softmax, multilabel: (logits) => Array.from(logits, sigmoid) };

export function softmax(logits) {
  const most = Math.max(...logits), powers = Array.from(logits, (x) => Math.exp(x - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
}

/** [height, width] after `resize`: null keeps it, a number is the short side, a pair is exact. */
function resized(height, width, resize) {
  if (resize === null) return [height, width];
  if (Array.isArray(resize)) return resize;
  const short = Math.min(height, width), half = Math.floor(short / 2);
  return [height, width].map((side) => Math.floor((side * resize + half) / short));
}

const held = (files) => ({
  async get(name) {
    if (!files[name]) throw new Error(`${name} is missing.`);
    return files[name];
  },
});

const fetched = (base) => ({
  async get(name, { sha256, onProgress } = {}) {
    const address = new URL(name, base);
    if (sha256) address.searchParams.set("sha256", sha256); // another model, another address: nothing stale is ever used
    const store = sha256 && globalThis.caches ? await caches.open("everyframe").catch(() => null) : null;
    const kept = await store?.match(address);
    // what has no such address is asked for again, lest files of two models meet
    const answer = kept ?? (await fetch(address, { cache: sha256 ? "default" : "no-cache" }));
    if (!answer.ok) throw new Error(`${name} cannot be read: ${answer.status} ${answer.statusText}`);
    const bytes = await arriving(answer, onProgress);
    if (store && !kept && bytes.length > KEPT_FROM) await store.put(address, new Response(bytes)).catch(() => {});
    return bytes;
  },
});

async function arriving(answer, onProgress = () => {}) {
  const of = Number(answer.headers.get("content-length")) || 0, parts = [];
  let done = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { value, done: over } = await reader.read();
    if (over) break;
    parts.push(value);
    onProgress((done += value.length), of);
  }
  const bytes = new Uint8Array(done);
  parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 0);
  return bytes;
}
