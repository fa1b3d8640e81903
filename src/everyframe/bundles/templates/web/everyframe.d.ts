/** A picture: drawn at its own size. ImageData, or anything else with RGBA bytes, is taken as it is. */
export type Picture =
  | HTMLVideoElement | HTMLImageElement | HTMLCanvasElement | OffscreenCanvas | ImageBitmap | VideoFrame
  | { data: Uint8Array | Uint8ClampedArray; width: number; height: number }
  | Planes;

/** What `planes` makes of a VideoFrame. */
export interface Planes {
  data: Uint8Array;
  width: number;
  height: number;
  /** 1: I420; 2: NV12 */
  layout: 1 | 2;
  /** axes exchanged (1), then mirrored up-down (2) and left-right (4) */
  turn: number;
  /** of red and blue in brightness */
  shares: [number, number];
  full: boolean | null;
}

export interface Event {
  label: string;
  index: number;
  score: number;
  /** seconds, of the frame in which it was recognized */
  time: number;
}

export interface EventRule {
  background: string;
  threshold: number;
  hold_steps: number;
  refractory_s: number;
  rearm: number;
}

export interface Info {
  name: string;
  labels: string[];
  /** height and width of the network's frames */
  size: [number, number];
  resize: number | [number, number] | null;
  crop: [number, number] | null;
  /** frames a second that the network sees, as a fraction; null: every frame, or every sample_every_n-th */
  fps: [number, number] | null;
  sample_every_n: number | null;
  rate: number;
  hop: number;
  feature_delay: number;
  delay: number;
  events: EventRule | null;
  task: "classify" | "multilabel" | "frames";
  scores: "logits" | "probabilities";
  sha256: string;
  tool: string;
  /** of gestures that were taught; arrays as bytes in base64 or numbers */
  head?: Head;
  /** what teach.js and personal.js need; null: a page cannot teach this model */
  teach: { window: number; width: number; background: string; fewest: number; [more: string]: unknown } | null;
}

export interface Head {
  /** (classes, features) */
  weight: Float32Array | string;
  bias: Float32Array | string;
  /** what is familiar: the square of features * scale - center - means[k], of the nearest gesture, is at most limit */
  scale: Float32Array | string;
  center: Float32Array | string;
  means: Float32Array | string;
  limit: number;
  /** what the background's logit gains at twice the limit; without it 8 */
  steep?: number;
}

export interface Prediction {
  /** number of the newest frame that the network saw */
  frame: number;
  /** seconds */
  time: number;
  scores: ArrayLike<number>;
  logits: Float32Array;
  top: { label: string; index: number; score: number };
  event: Event | null;
  stepMs: number;
}

export declare class Model {
  readonly info: Info;
  readonly labels: string[];
  /** One frame with its time in seconds; numbers (Float32Array) are a whole step. Null until the network has seen enough. */
  step(frame: Picture | Float32Array, time?: number): Prediction | null;
  /** All predictions that a picture gives: a slow camera's frames are used several times. */
  feed(picture: Picture, time: number): Generator<Prediction>;
  /** Other labels, event rule and head: what Teacher.learn of teach.js gives, or an `info` of before. */
  become(other: Pick<Info, "labels" | "events" | "head"> & Partial<Info>): void;
  /** What the classifier reads, one array a step; frames as `prepare` makes them. */
  features(frames: Iterable<Float32Array>): Generator<Float32Array>;
  /** What the network would see of a picture, (C, H, W). */
  prepare(picture: Picture): Float32Array;
  /** Those that are still to come when no more pictures do. */
  end(): Generator<Prediction>;
  /** The next frame is the first. live: frames come as they happen, rather than from a file. */
  reset(options?: { live?: boolean }): void;
}

/** A VideoFrame's own colors, to be given to a model in its place; anything else as it is. */
export declare function planes<T extends Picture>(picture: T): Promise<T | Planes>;

export declare class Ticks<Item = unknown> {
  constructor(options: { fps?: [number, number] | null; sample_every_n?: number | null; live?: boolean });
  put(item: Item, time: number): { item: Item; time: number }[];
  rest(duration?: number): { item: Item; time: number }[];
}

export declare class EventDetector {
  constructor(rule: EventRule, labels: string[]);
  update(scores: ArrayLike<number>, time: number): Event | null;
}

export declare function softmax(logits: ArrayLike<number>): number[];

/** from: the address of model.json, or the files' bytes by name. */
export declare function load(
  from: string | URL | Record<"model.json" | "model.weights" | "simd128.wasm" | "relaxed.wasm", Uint8Array>,
  options?: { onProgress?: (done: number, of: number) => void; live?: boolean },
): Promise<Model>;
