// What a page has beside when a server shows it: which model, and whether that runs there or here.

import { $ } from "./lessons.js";

const FILES = ["model.json", "model.weights", "relaxed.wasm", "simd128.wasm"];
const PROMISE = {
  browser: document.querySelector(".promise").textContent,
  server: `Pictures go to ${location.host}, which looks at them and keeps none.`,
};
const HOW = { browser: $("how").textContent, server: "The network runs on the server; this page makes no connection to other hosts." };
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
  [document.querySelector(".promise").textContent, $("how").textContent] = [PROMISE[place], HOW[place]];
  if (place === "server") {
    const address = new URL(`v1/stream?scores=true&model=${encodeURIComponent(model)}`, document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    address.hash = "";
    return { script: "./remote.js", from: { address: address.href, token } };
  }
  const from = {};
  for (const [i, name] of FILES.entries()) {
    from[name] = new Uint8Array(await (await ask(`v1/models/${encodeURIComponent(model)}/browser/${name}`)).arrayBuffer());
    progress(i + 1, FILES.length);
  }
  return { script: "./worker.js", from };
}
