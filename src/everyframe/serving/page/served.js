// What a page has beside when a server shows it: which model, and whether that runs there or here.

import { $ } from "./lessons.js";

const FILES = ["model.json", "model.weights", "relaxed.wasm", "simd128.wasm"];
const PROMISE = {
  browser: document.querySelector(".promise").textContent,
  server: `Pictures go to ${location.host}, which looks at them and keeps none.`,
};
const HOW = { browser: $("how").textContent, server: "The network runs on the server; this page makes no connection to other hosts." };
const EVERY = 2000; // milliseconds between two looks at the cameras' states
// behind the #, where no server and no log sees it
const token = new URLSearchParams(location.hash.slice(1)).get("token");

export async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: token ? { Authorization: `Bearer ${token}` } : {} });
  if (answer.ok) return answer;
  if (answer.status === 401) throw new Error("This server wants its token: open the address that it printed when it was started.");
  const problem = await answer.json().catch(() => null);
  throw new Error(problem?.error.what ?? `the server says ${answer.status}`);
}

/** Adds what there is to choose. again(): something else was chosen. */
export async function offer(again) {
  const { models } = await (await ask("v1/models")).json();
  choice("model", "Model", models.map(({ name }) => [name, name]), again).hidden = models.length < 2;
  choice("place", "Recognize", [["server", "on the server"], ["browser", "in this browser"]], again);
  choice("sent", "Send", [["jpeg", "pictures"], ["video", "video, fewer bytes"]], again);
  const { cameras } = await (await ask("v1/cameras")).json();
  if (cameras.length) show(cameras);
}

/** The server's cameras: picture, state, last events. */
function show(cameras) {
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: "served.css" }));
  const section = Object.assign(document.createElement("section"), { className: "watched", innerHTML: "<h2>Cameras of the server</h2><ul></ul>" });
  document.querySelector("main").append(section);
  const cards = new Map(cameras.map((camera) => [camera.name, card(camera)]));
  section.querySelector("ul").append(...cards.values());
  const tell = (all) => all.forEach((camera) => cards.get(camera.name)?.tell(camera));
  tell(cameras);
  setInterval(async () => document.hidden || tell((await (await ask("v1/cameras")).json()).cameras), EVERY);
}

function card({ name, model }) {
  const made = document.createElement("li");
  made.innerHTML = '<canvas role="img"></canvas><div><b></b><span></span></div><p></p><ol></ol>';
  made.querySelector("b").textContent = name;
  made.querySelector("canvas").ariaLabel = `What the camera ${name} sees`;
  made.tell = ({ state, reason, fps, top: [best], dropped, events }) => {
    const live = state === "live", share = best ? `${best.label.replaceAll("_", " ")} ${Math.round(100 * best.score)}%` : "";
    made.dataset.state = state;
    made.querySelector("span").textContent = live ? `${Math.round(fps ?? 0)} /s${dropped ? `, ${dropped} dropped` : ""}` : state;
    made.querySelector("p").textContent = live ? share : reason;
    made.querySelector("ol").replaceChildren(...events.slice(0, 3).map(({ label, at }) => {
      const entry = document.createElement("li");
      entry.textContent = `${new Date(1000 * at).toLocaleTimeString()} ${label.replaceAll("_", " ")}`;
      return entry;
    }));
    made.title = `${name}: ${model}`;
  };
  watch(name, made);
  return made;
}

/** The camera's pictures; where the connection ends, after a while again. */
function watch(name, made) {
  const socket = new WebSocket(socketed(`v1/cameras/${encodeURIComponent(name)}?predictions=false`)), canvas = made.querySelector("canvas");
  socket.binaryType = "blob";
  socket.onopen = () => token && socket.send(JSON.stringify({ token }));
  socket.onmessage = async ({ data }) => {
    if (typeof data === "string") return;
    const picture = await createImageBitmap(data);
    [canvas.width, canvas.height] = [picture.width, picture.height];
    canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
  };
  socket.onclose = () => setTimeout(watch, EVERY, name, made);
}

/** The address of a WebSocket. */
function socketed(path) {
  const address = new URL(path, document.baseURI);
  [address.protocol, address.hash] = [address.protocol.replace("http", "ws"), ""];
  return address.href;
}

function choice(id, label, values, again) {
  const made = Object.assign(document.createElement("label"), { className: "choice", textContent: `${label} ` });
  const select = Object.assign(document.createElement("select"), { id, onchange: again });
  select.append(...values.map(([value, text]) => new Option(text, value)));
  made.append(select);
  $("cameras").before(made);
  return made;
}

/** The script that runs it, and what that loads. progress(done, of): files. */
export async function chosen(progress) {
  const model = $("model").value, place = $("place").value;
  $("sent").parentElement.hidden = place !== "server" || !globalThis.VideoEncoder;
  [document.querySelector(".promise").textContent, $("how").textContent] = [PROMISE[place], HOW[place]];
  if (place === "server") {
    const address = socketed(`v1/stream?scores=true&model=${encodeURIComponent(model)}`);
    return { script: "./remote.js", from: { address, token, coded: $("sent").value === "video" } };
  }
  const from = {};
  for (const [i, name] of FILES.entries()) {
    from[name] = new Uint8Array(await (await ask(`v1/models/${encodeURIComponent(model)}/browser/${name}`)).arrayBuffer());
    progress(i + 1, FILES.length);
  }
  return { script: "./worker.js", from };
}
