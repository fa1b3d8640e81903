// The files of a taught model: the ONNX that every engine of everyframe takes, and the model.json of a page.

/** The personal model.json: what a page's is, with what Teacher.learn gave. */
export const personal = (info, { labels, events, head, clips }) => ({
  ...info, labels, events, task: "classify", scores: "logits", name: `${info.name.replace(/, taught$/, "")}, taught`,
  head: { ...Object.fromEntries(Object.entries(head).map(([name, value]) => [name, typeof value === "number" ? value : base64(value)])), clips },
});

/** An ONNX model: the network without its classifier (graph: bytes of teach.graph) with the new head behind it. info: see `personal`. */
export async function onnx(info, graph) {
  const { teach, labels, events, head, tool } = info, F = teach.width, K = labels.length;
  const [weight, bias, scale, center, means] = ["weight", "bias", "scale", "center", "means"].map((name) => floats(head[name]));
  const before = teach.metadata.provenance;
  const provenance = {
    ...before, tool, passes: [...before.passes, "teach"], notes: [...before.notes, `a head taught in a page with ${head.clips} clips`],
    weights_sha256: await sha256([new TextEncoder().encode(teach.sha256), ...[weight, bias, scale, center, means].map(raw)]),
  };
  const metadata = JSON.stringify({ ...teach.metadata, labels, events, provenance });
  const whole = [
    field(12, value("logits", [1, K])), // first: the outputs behind it are states
    graph,
    ...Object.entries({
      weight: [[K, F], weight], bias: [[K], bias], ...familiar(F, K, scale, center, means, head.limit, head.steep ?? 8),
    }).map(([name, [shape, values]]) => field(5, tensor(`taught.${name}`, shape, raw(Float32Array.from(values))))),
  ];
  return joined([bytes(teach.onnx), field(7, joined(whole)), field(14, joined([field(1, text("everyframe")), field(2, text(metadata))]))]);
}

/** What the graph's rejection reads (see `with_head` in everyframe's teaching): |z - m|^2 = |z|^2 - 2 z m + |m|^2. */
function familiar(F, K, scale, center, means, limit, steep) {
  const gestures = means.length / F, squares = Array.from({ length: gestures }, (_, k) => means.subarray(k * F, k * F + F).reduce((a, b) => a + b * b, 0));
  return {
    scale: [[1, F], scale], center: [[1, F], center], ones: [[F, gestures], Array(F * gestures).fill(1)], means: [[gestures, F], means.map((value) => -2 * value)],
    squares: [[gestures], squares], slope: [[1, 1], [steep / limit]], steep: [[1, 1], [steep]], background: [[1, K], Array.from({ length: K }, (_, k) => Number(!k))],
  };
}

// protocol buffers: a field is its number and kind, then its value; numbers in groups of 7 bits, the lowest first
const varint = (n) => (n < 128 ? [n] : [(n % 128) | 128, ...varint(Math.floor(n / 128))]);
const field = (number, content) => joined([[...varint(8 * number + 2), ...varint(content.length)], content]);
const integer = (number, n) => Uint8Array.from([...varint(8 * number), ...varint(n)]);
const text = (string) => new TextEncoder().encode(string);
const FLOAT = 1;

const value = (name, shape) => {
  const dims = shape.map((n) => field(1, integer(1, n)));
  return joined([field(1, text(name)), field(2, field(1, joined([integer(1, FLOAT), field(2, joined(dims))])))]);
};
const tensor = (name, shape, raw) => joined([...shape.map((n) => integer(1, n)), integer(2, FLOAT), field(8, text(name)), field(9, raw)]);

export function joined(parts) {
  const whole = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

const floats = (base64) => new Float32Array(bytes(base64).buffer);
const raw = (values) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
const base64 = (values) => btoa(Array.from(raw(values), (byte) => String.fromCharCode(byte)).join(""));

/** null where a browser gives none: to pages over plain http. */
async function sha256(parts) {
  const digest = await globalThis.crypto?.subtle?.digest("SHA-256", joined(parts));
  return digest ? Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("") : null;
}
