// The page: a camera or a video goes to the worker frame by frame; what comes back is shown.

import { Player } from "./frames.js";
import { $, Lessons } from "./lessons.js";
import { Timeline, colorOf } from "./timeline.js";

const video = $("video"), timeline = new Timeline($("timeline"));
const ROWS = 12; // labels that get a row of their own; of more, the best share SHARED rows
const SHARED = 8;
const AHEAD = 3; // frames on their way to the worker; more would only come later
const FLASH_MS = 1600;
const served = document.body.dataset.served ? await import("./served.js") : null; // by a server that recognizes, too

let worker, info, rows, player, lessons;
let run = 0; // which playing it is: answers to an earlier one are late
let source = null; // {kind: "camera" | "file", name, stop, track, address, over}: what is looked at
let address = ""; // of the video that is shown
let events = [], flying = 0, landed = null, painting = false, newest = null;
const seen = { shown: [], used: [], stepMs: [], lateMs: [] };

// -- words ------------------------------------------------------------------------------------------------------------------------

const TROUBLE = {
  NotAllowedError: "The camera was not allowed. Allow it beside the address of this page and press Start again, or open a video.",
  NotFoundError: "There is no camera here. Plug one in and press Start again, or open a video.",
  OverconstrainedError: "This camera is gone. Choose another one, or open a video.",
  NotReadableError: "The camera is busy: another program has it. Close that and press Start again, or open a video.",
  AbortError: "The camera did not start. Press Start again, or open a video.",
  insecure: "Browsers give a camera only to pages that come over https, from localhost or from a file. A video can be opened all the same.",
};

function say(text, kind = "") {
  $("status").textContent = text;
  $("status").dataset.kind = kind;
}

const now = () => performance.timeOrigin + performance.now(); // the worker's clock begins later
const readable = (label) => label.replaceAll("_", " ");
const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
const counted = (n, what) => `${n || "no"} ${what}${n === 1 ? "" : "s"}`;

// -- the model --------------------------------------------------------------------------------------------------------------------

/** Text that a page in one file carries instead of a file. */
const embedded = (name) => $(name)?.textContent ?? null;
const decoded = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

async function unpacked(base64) {
  const stream = new Blob([decoded(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function packed(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  const whole = new Uint8Array(await new Response(stream).arrayBuffer());
  return btoa(Array.from(whole, (byte) => String.fromCharCode(byte)).join(""));
}

/** A page in one file as it came, with other data in place of some: by id. */
const pristine = {
  shell: Array.from(document.body.children, (element) => (element.type === "text/plain" ? element.id : element.outerHTML)),
  read: async (name) => unpacked(embedded(name)),
  page(data) {
    const body = pristine.shell.map((each) => (document.getElementById(each) ? `<script type="text/plain" id="${each}">${data[each] ?? embedded(each)}</script>` : each));
    return `<!doctype html>\n<html lang="en">\n${document.head.outerHTML}\n<body data-sample="${document.body.dataset.sample}">\n${body.join("\n")}\n</body>\n</html>\n`;
  },
};

async function open() {
  const lacks = ["Worker", "WebAssembly", "OffscreenCanvas", "ResizeObserver", "DecompressionStream"].filter((name) => !(name in globalThis));
  if (lacks.length) return say(`This browser is too old for this page (it has no ${lacks.join(", no ")}). Any one from 2023 or later will do.`, "trouble");
  say("Loading the model …");
  const text = embedded("worker.js"), chosen = await served?.chosen((done, of) => ANSWERS.progress({ done, of }));
  worker = text
    ? new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })))
    : new Worker(new URL(chosen?.script ?? "./worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => ANSWERS[data.kind](data);
  worker.onerror = (event) => say(`The network did not start: ${event.message ?? "its file cannot be read"}.`, "trouble");
  if (!text) return worker.postMessage({ kind: "load", from: chosen?.from ?? new URL("model.json", document.baseURI).href });
  const from = {};
  for (const name of ["model.json", "model.weights", "relaxed.wasm", "simd128.wasm"]) from[name] = await unpacked(embedded(name));
  worker.postMessage({ kind: "load", from }, Object.values(from).map((bytes) => bytes.buffer));
}

const ANSWERS = {
  progress({ done, of }) {
    $("progress").hidden = !of || done >= of;
    $("progress").value = of ? done / of : 0;
  },
  ready(answer) {
    show(answer.info);
    $("delay").textContent = info.feature_delay ? `${(info.feature_delay / info.rate).toFixed(2)} s` : "none";
    if (!info.events) $("none").textContent = "This model tells no single events: it says at every frame what is going on.";
    $("start").disabled = false;
    $("sample").hidden = !(embedded("sample.mp4") || document.body.dataset.sample);
    if (!navigator.mediaDevices) [$("start").disabled, $("invitation").textContent] = [true, TROUBLE.insecure];
    if (info.teach) lessons = new Lessons(info, { worker, say, camera, clip, packed, save, files: embedded("teach.graph") ? pristine : null });
    say("Ready.");
  },
  became({ info }) {
    show(info);
    clear();
  },
  example: (answer) => lessons.answered(answer),
  learned: (answer) => lessons.answered(answer),
  steps(answer) {
    if (answer.run !== run) return;
    for (const prediction of answer.steps) take(prediction);
    if (answer.ended) return finish(`The video is over: ${counted(events.length, "event")}.`);
    flying--;
    landed?.();
    seen.shown.push(performance.now());
    keepFigure(seen.lateMs, now() - answer.sent);
  },
  error({ message, run: of }) {
    if (of !== undefined && of !== run) return;
    halt();
    say(message, "trouble");
  },
};

/** Labels and event rule of a model. */
function show(model) {
  info = model;
  $("title").textContent = info.name;
  timeline.background = info.labels.indexOf(info.events?.background ?? "");
  makeRows();
}

// -- what comes back --------------------------------------------------------------------------------------------------------------

function take(prediction) {
  newest = prediction;
  seen.used.push(performance.now());
  keepFigure(seen.stepMs, prediction.stepMs);
  timeline.add(prediction.time, prediction.scores);
  if (prediction.event) remember(prediction.event);
  if (!painting) painting = requestAnimationFrame(paint);
}

function remember(event) {
  const text = readable(event.label);
  events.push({ pts_s: Number(event.time.toFixed(3)), label: event.label, score: Number(event.score.toFixed(4)) });
  timeline.flag(event, text);
  const entry = document.createElement("li"), parts = [["time", clock(event.time)], ["span", text], ["output", percent(event.score)]];
  entry.append(...parts.map(([tag, content]) => Object.assign(document.createElement(tag), { textContent: content })));
  $("log").prepend(entry);
  $("none").hidden = true;
  $("csv").disabled = $("json").disabled = false;
  const flash = $("flash");
  [flash.textContent, flash.dataset.on] = [text, "true"];
  clearTimeout(remember.timer);
  remember.timer = setTimeout(() => (flash.dataset.on = "false"), FLASH_MS);
}

const percent = (score) => `${Math.round(100 * score)}%`;

function makeRows() {
  const many = info.labels.length > ROWS, count = many ? SHARED : info.labels.length;
  rows = Array.from({ length: count }, (_, i) => ({ label: many ? null : i, element: document.createElement("li") }));
  for (const row of rows) row.element.innerHTML = "<b></b><i></i><span></span><output>0%</output>";
  $("labels").replaceChildren(...rows.map((row) => row.element));
  rows.forEach(nameRow);
}

function nameRow(row) {
  row.element.querySelector("span").textContent = row.label === null ? "" : readable(info.labels[row.label]);
  row.element.style.setProperty("--color", row.label === null ? "transparent" : colorOf(row.label, timeline.background));
}

/** A label keeps its row as long as it is among the best; a new one takes the row of one that no longer is. */
function shareRows(scores) {
  if (info.labels.length <= ROWS) return;
  const best = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a]).slice(0, SHARED);
  const coming = best.filter((label) => !rows.some((row) => row.label === label));
  for (const row of rows) {
    if (best.includes(row.label)) continue;
    row.label = coming.shift();
    nameRow(row);
  }
}

function paint() {
  painting = false;
  if (!newest) return;
  const { scores, top } = newest;
  shareRows(scores);
  for (const { label, element } of rows) {
    element.style.setProperty("--score", scores[label].toFixed(3));
    element.dataset.lead = label === top.index;
    element.querySelector("output").textContent = percent(scores[label]);
  }
  timeline.draw();
}

function keepFigure(list, value) {
  list.push(value);
  if (list.length > 60) list.shift();
}

const median = (list) => list.toSorted?.((a, b) => a - b)[list.length >> 1] ?? list.at(-1);

/** Once a second: figures that change faster cannot be read. */
function figures() {
  const since = performance.now() - 2000;
  for (const list of [seen.shown, seen.used]) while (list.length && list[0] < since) list.shift();
  if (!source || !seen.stepMs.length) return;
  $("fps").textContent = `${Math.round(seen.shown.length / 2)} /s, ${Math.round(seen.used.length / 2)} used`;
  $("ms").textContent = `${median(seen.stepMs).toFixed(2)} ms`;
  $("late").textContent = seen.lateMs.length ? `${median(seen.lateMs).toFixed(0)} ms` : "–";
}
setInterval(figures, 1000);

// -- what goes in -----------------------------------------------------------------------------------------------------------------

async function startCamera() {
  if (!navigator.mediaDevices) return say(TROUBLE.insecure, "trouble");
  halt();
  say("Asking for the camera …");
  const chosen = $("camera").value, mine = ++run;
  try {
    const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: Math.max(30, info.rate) } };
    const stream = await navigator.mediaDevices.getUserMedia({ video: chosen ? { ...wanted, deviceId: { exact: chosen } } : wanted });
    if (mine !== run) return stream.getTracks().forEach((track) => track.stop());
    const [track] = stream.getVideoTracks();
    track.onended = () => mine === run && finish("The camera is gone. Plug it in again and press Start, or choose another one.", "trouble");
    video.dataset.mirrored = track.getSettings().facingMode !== "environment";
    const stop = () => (stream.getTracks().forEach((each) => each.stop()), worker.postMessage({ kind: "camera" }));
    await play({ kind: "camera", name: track.label, track, stop }, (element) => (element.removeAttribute("src"), (element.srcObject = stream)));
    await listCameras(track.getSettings().deviceId);
  } catch (error) {
    halt();
    say(TROUBLE[error.name] ?? `The camera did not start: ${error.message}`, "trouble");
  }
}

async function startVideo(from, name) {
  halt();
  run++;
  video.dataset.mirrored = false;
  try {
    await play({ kind: "file", name, address: from, stop() {} }, (element) => (element.src = from));
  } catch (error) {
    if (error.name === "AbortError") return; // another one was started meanwhile
    halt();
    say(`This browser cannot play ${name}. MP4 with H.264 and WebM work nearly everywhere.`, "trouble");
  }
}

async function play(next, attach) {
  clear();
  source = next;
  begin();
  const mine = run, live = next.kind === "camera";
  const straight = live && globalThis.MediaStreamTrackProcessor; // from the camera to the worker, where the browser can do that
  player = straight ? null : new Player(video, { live, take: look, over: next.over ?? (() => worker.postMessage({ kind: "end" })) });
  attach(video);
  URL.revokeObjectURL(address); // of the video before: its last picture was still shown
  address = next.address;
  $("empty").hidden = true;
  if (straight) {
    const { readable: frames } = new straight({ track: next.track, maxBufferSize: AHEAD });
    worker.postMessage({ kind: "camera", frames }, [frames]);
  }
  await (player ?? video).play();
  if (mine !== run) return;
  enable();
  say(live ? `Looking at ${next.name || "the camera"}.` : `Playing ${next.name}.`);
}

/** The camera, looking; whether it does. */
async function camera() {
  if (source?.kind !== "camera") await startCamera();
  return source?.kind === "camera";
}

/** Plays a video to its end for somebody else: `begun` before its first frame. Throws where that cannot be. */
async function clip(file, begun) {
  halt();
  run++;
  video.dataset.mirrored = false;
  const from = URL.createObjectURL(file), stop = (reject) => () => reject(new DOMException("stopped", "AbortError"));
  try {
    await new Promise((resolve, reject) => {
      const next = { kind: "file", name: file.name, address: from, over: resolve, stop: stop(reject) };
      play(next, (element) => (begun(), (element.src = from))).catch(reject);
    });
  } finally {
    if (source?.address === from) halt();
  }
}

/** The next frame is the first. */
function begin() {
  worker.postMessage({ kind: "reset", live: source.kind === "camera", run });
  [flying, landed] = [0, null];
}

/** A camera's frames are left out while others are on their way; a file waits for them. */
function look(image, time) {
  if (flying >= AHEAD && source.kind === "camera") return image.close();
  worker.postMessage({ kind: "frame", image, time, sent: now() }, [image]);
  flying++;
  if (flying >= AHEAD && source.kind === "file") return new Promise((resolve) => (landed = () => flying < AHEAD && resolve()));
}

/** The end of a camera or video; what it said stays. */
function finish(text, kind) {
  halt();
  say(text, kind);
}

function halt() {
  run++;
  player?.stop();
  landed?.();
  source?.stop();
  source = null;
  video.pause();
  if (video.srcObject) video.srcObject = null;
  enable();
}

function clear() {
  [events, newest] = [[], null];
  for (const list of Object.values(seen)) list.length = 0;
  timeline.clear();
  timeline.draw();
  $("log").replaceChildren();
  $("none").hidden = false;
  $("csv").disabled = $("json").disabled = true;
  for (const { element } of rows) {
    element.style.setProperty("--score", 0);
    element.dataset.lead = false;
    element.querySelector("output").textContent = "0%";
  }
}

function enable() {
  $("stop").disabled = $("reset").disabled = !source;
  $("start").disabled = source?.kind === "camera" || !navigator.mediaDevices || !info;
}

async function listCameras(current) {
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
  $("cameras").hidden = cameras.length < 2;
  $("camera").replaceChildren(...cameras.map((device, i) => new Option(device.label || `Camera ${i + 1}`, device.deviceId, false, device.deviceId === current)));
}

// -- buttons ----------------------------------------------------------------------------------------------------------------------

const ifReady = (act) => (...given) => (info ? act(...given) : say("The model is still loading: one moment, please."));

$("start").onclick = startCamera;
$("stop").onclick = () => finish(`Stopped: ${counted(events.length, "event")}.`);
$("reset").onclick = () => {
  run++;
  const waiting = landed;
  clear();
  begin();
  waiting?.();
};
$("camera").onchange = startCamera;
$("sample").onclick = () => {
  const text = embedded("sample.mp4");
  startVideo(text ? URL.createObjectURL(new Blob([decoded(text)], { type: "video/mp4" })) : document.body.dataset.sample, "the sample");
};
const openFile = ifReady((file) => startVideo(URL.createObjectURL(file), file.name));
$("file").onchange = ({ target }) => {
  if (target.files[0]) openFile(target.files[0]);
  target.value = "";
};
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("picture").dataset.over = true;
});
addEventListener("dragleave", (event) => event.relatedTarget ?? ($("picture").dataset.over = false));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("picture").dataset.over = false;
  const [file] = event.dataTransfer.files;
  if (file) openFile(file);
});
video.onerror = () => source?.kind === "file" && finish("This video is damaged, or of a kind that this browser cannot play.", "trouble");
document.addEventListener("visibilitychange", () => {
  if (source?.kind === "file") document.hidden ? video.pause() : video.play(); // hidden pages get no frames
});
navigator.mediaDevices?.addEventListener("devicechange", () => source?.kind === "camera" && listCameras($("camera").value));

function save(text, type, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
$("json").onclick = () => save(JSON.stringify(events, null, 1), "application/json", "events.json");
$("csv").onclick = () => {
  const lines = events.map(({ pts_s, label, score }) => [pts_s, `"${label.replaceAll('"', '""')}"`, score].join(","));
  save(["pts_s,label,score", ...lines, ""].join("\n"), "text/csv", "events.csv");
};

const started = () => open().catch((error) => say(`The model cannot be loaded: ${error.message}`, "trouble"));

/** Another model, or another place where it runs. */
function again() {
  if (source) halt();
  worker?.terminate();
  $("start").disabled = true;
  info = null;
  started();
}

if (served) served.offer(again).then(started, (error) => say(error.message, "trouble"));
else started();
