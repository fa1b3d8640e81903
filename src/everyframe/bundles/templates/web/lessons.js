// Teaching in the page: names, examples from the camera or from clips, learning, and what can be saved. The learning itself is teach.js.

import { onnx, personal } from "./personal.js";

export const $ = (id) => document.getElementById(id);
const WANTED = 5; // examples of each gesture
const [COUNTDOWN, SECONDS, PAUSE] = [3, 2.5, 10]; // seconds before an example, of it, and of what is no gesture
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

export class Lessons {
  #taken = new Map(); // name -> numbers of its examples; null: of no gesture
  #waits = null;
  #busy = null; // what is being recorded
  #mine = null; // the personal model, once it is learned

  /** page: what page.js does for this: see there. */
  constructor(info, page) {
    Object.assign(this, { first: info, page });
    $("teach").hidden = false;
    this.#taken.set(null, []);
    this.#show();
    $("naming").onsubmit = (event) => (event.preventDefault(), this.#add($("name").value.trim()));
    $("learn").onclick = () => this.#learn();
    $("original").onclick = () => this.#switch();
    $("onnx").onclick = () => this.#saveModel();
    $("page").onclick = () => this.#savePage();
    $("page").textContent = page.files ? "Save this page with it" : "Save its model.json";
  }

  /** The worker's answer to what was asked last. */
  answered = (answer) => this.#waits?.(answer);

  #ask(message) {
    return new Promise((resolve) => {
      this.#waits = resolve;
      this.page.worker.postMessage(message);
    });
  }

  #add(name) {
    const wrong = this.#wrong(name);
    $("name").setCustomValidity(wrong);
    if (!$("name").reportValidity()) return void ($("name").oninput = () => $("name").setCustomValidity(""));
    this.#taken.set(name.replaceAll(" ", "_"), []);
    $("name").value = "";
    this.#show();
    this.#note(`${name} is there: record five examples of it.`);
    $("gestures").querySelector(`[data-name="${CSS.escape(name.replaceAll(" ", "_"))}"] .record`).focus();
  }

  #wrong(name) {
    const { background } = this.first.teach, label = name.replaceAll(" ", "_");
    if (!name) return "A gesture needs a name.";
    if (/^\.|[/\\]/.test(name)) return "A name is a word or two, without slashes.";
    if (label === background) return `“${background}” is what the model calls no gesture.`;
    return this.#taken.has(label) ? "This gesture is there already." : "";
  }

  /** The list. `none` comes last, once there is a gesture. */
  #show() {
    const names = [...this.#taken.keys()].filter((name) => name !== null);
    $("gestures").replaceChildren(...(names.length ? [...names, null] : []).map((name) => this.#row(name)));
    const { fewest } = this.first.teach, enough = names.length > 0 && names.every((name) => this.#taken.get(name).length >= fewest);
    $("learn").disabled = !enough || names.length + (this.#taken.get(null).length > 0) < 2 || this.#busy !== null;
  }

  #row(name) {
    const row = document.createElement("li"), count = this.#taken.get(name).length, said = name?.replaceAll("_", " ") ?? "anything else";
    row.dataset.name = name ?? "";
    row.innerHTML = `<strong></strong><span class="dots" role="img"></span><button type="button" class="record"></button>
      <label class="file">Add clips …<input type="file" accept="video/*" multiple></label><button type="button" class="forget">×</button><small></small>`;
    const [title, dots, record, , forget, told] = row.children, input = row.querySelector("input"), mine = this.#busy?.name === name && this.#busy;
    title.textContent = said;
    const wanted = name === null ? 1 : WANTED;
    dots.textContent = "●".repeat(Math.min(count, 8)) + (count > 8 ? ` ${count}` : "") + "○".repeat(Math.max(0, wanted - count));
    dots.ariaLabel = `${count} of ${wanted} examples of ${said}`;
    record.textContent = mine ? "Cancel" : name === null ? `Record ${PAUSE} s` : count && count < WANTED ? `Record ${WANTED - count} more` : count ? "Record one more" : "Record five";
    record.disabled = input.disabled = forget.disabled = Boolean(this.#busy) && !mine;
    record.ariaLabel = `${record.textContent}: ${said}`;
    input.ariaLabel = `Add clips: ${said}`;
    forget.ariaLabel = name === null ? "Forget the footage without a gesture" : `Forget ${said}`;
    forget.hidden = name === null && !count;
    const right = this.#mine?.told[name];
    told.textContent = name === null ? "what your hands do when it is no gesture" : right ? `${right[name]} of ${Object.values(right).reduce((a, b) => a + b)} recognized when left out` : "";
    record.onclick = () => (mine ? (mine.over = true) : this.#record(name));
    input.onchange = () => this.#clips(name, [...input.files]);
    forget.onclick = () => this.#forget(name);
    return row;
  }

  #note(text, kind = "") {
    $("lesson").textContent = text;
    $("lesson").dataset.kind = kind;
  }

  #forget(name) {
    for (const number of this.#taken.get(name)) this.page.worker.postMessage({ kind: "forget", number });
    if (name === null) this.#taken.set(null, []);
    else this.#taken.delete(name);
    this.#show();
    $("name").focus();
  }

  /** Runs `take` for a gesture while nothing else can be recorded. */
  async #during(name, take) {
    const busy = (this.#busy = { name, over: false });
    this.#show();
    try {
      await take(busy);
    } finally {
      this.#busy = null;
      $("count").hidden = true;
      const focused = $("gestures").contains(document.activeElement);
      this.#show();
      if (focused) $("gestures").querySelector(`[data-name="${CSS.escape(name ?? "")}"] .record`)?.focus();
    }
  }

  async #keep(name) {
    const { problem, number } = await this.#ask({ kind: "kept" });
    if (problem) return problem;
    this.#taken.get(name).push(number);
    this.#show();
    return null;
  }

  #record = (name) => this.#during(name, async (busy) => {
    if (!(await this.page.camera())) return;
    const said = name?.replaceAll("_", " ") ?? "anything but a gesture", seconds = name === null ? PAUSE : SECONDS;
    const count = name === null ? 1 : Math.max(1, WANTED - this.#taken.get(name).length);
    for (let i = 1; i <= count && !busy.over; i++) {
      for (let left = COUNTDOWN; left && !busy.over; left--) {
        this.#count(left, `${said}, example ${i} of ${count}: in ${left}`);
        await sleep(1);
      }
      if (busy.over) break;
      this.#count("Go", `${said}: go`);
      this.page.worker.postMessage({ kind: "example", label: name, live: true });
      for (let done = 0; done < seconds && !busy.over; done += 0.5) await sleep(0.5);
      const problem = await this.#keep(name);
      if (problem) {
        this.#note(problem, "trouble");
        break;
      }
    }
    this.page.worker.postMessage({ kind: "reset", live: true });
    this.page.say(busy.over ? "Cancelled: what was recorded before is kept." : `Recorded: ${said}.`);
  });

  #count(shown, text) {
    [$("count").hidden, $("count").textContent] = [false, shown];
    this.page.say(text);
  }

  #clips = (name, files) => this.#during(name, async (busy) => {
    const problems = [];
    for (const [i, file] of files.entries()) {
      if (busy.over) break;
      this.page.say(`Looking at clip ${i + 1} of ${files.length}: ${file.name}`);
      try {
        await this.page.clip(file, () => this.page.worker.postMessage({ kind: "example", label: name, live: false }));
        const problem = await this.#keep(name);
        if (problem) problems.push(`${file.name}: ${problem}`);
      } catch (error) {
        if (error.name === "AbortError") break;
        problems.push(`${file.name}: this browser cannot play it.`);
      }
    }
    this.page.worker.postMessage({ kind: "reset", live: true });
    this.#note(problems.join(" "), problems.length ? "trouble" : "");
    this.page.say(`Looked at ${files.length} clip${files.length === 1 ? "" : "s"}.`);
  });

  async #learn() {
    $("learn").disabled = true;
    this.#note("Learning, and leaving each example out in turn …");
    const learned = await this.#ask({ kind: "learn" });
    if (learned.problem) {
      this.#note(learned.problem, "trouble");
      return this.#show();
    }
    this.#mine = { ...learned, info: personal(this.first, learned) };
    this.page.worker.postMessage({ kind: "become", info: this.#mine.info });
    const { hits, examples, false: wrong } = learned.outcome;
    this.#note(`Learned from ${learned.clips} examples. Left out in turn, ${hits} of ${examples} raised the right event first; ${wrong || "no"} other events. Try it now.`);
    for (const id of ["original", "onnx", "page"]) $(id).hidden = false;
    $("original").textContent = "Back to the first labels";
    this.#show();
  }

  #switch() {
    const back = $("original").textContent.startsWith("Back");
    this.page.worker.postMessage({ kind: "become", info: back ? { head: undefined, ...this.first } : this.#mine.info });
    $("original").textContent = back ? "To your gestures again" : "Back to the first labels";
  }

  async #saveModel() {
    const graph = this.page.files ? await this.page.files.read("teach.graph") : new Uint8Array(await (await fetch(new URL("teach.graph", document.baseURI))).arrayBuffer());
    this.page.save(await onnx(this.#mine.info, graph), "application/octet-stream", "mine.onnx");
  }

  async #savePage() {
    const text = JSON.stringify(this.#mine.info, null, 1);
    if (!this.page.files) return this.page.save(text, "application/json", "model.json");
    this.page.save(this.page.files.page({ "model.json": await this.page.packed(new TextEncoder().encode(text)) }), "text/html", "mine.html");
  }
}
