// Gestures of one's own from a few examples of each, as `everyframe teach` learns them: the features of a network that stays as it is, a linear
// classifier on them, and how far features may lie from what was taught before they are background. Each example is left out in turn to choose
// classifier and event rule, and each gesture as a whole: what is said then of it is what will be said of other things that hands do.
//
//     const teacher = new Teacher(model);
//     for (const [label, clips] of ...) for (const clip of clips) {
//       teacher.begin(label);                                  // null: footage without a gesture
//       for (const { picture, time } of clip) teacher.add(picture, time);
//       teacher.end();
//     }
//     model.become(await teacher.learn());                       // model.step now tells the new gestures

import { EventDetector, Ticks, beyond, softmax } from "./everyframe.js";

const SHORTEST = 4; // frames of an example at the least
const HELD_S = 1; // after an example its last frame is shown for so long: a clip is often over before what can be said of it
const PIECE_S = 10; // background is taken in pieces of so many seconds, of which leave-one-out leaves out one
const MOVING = 0.15; // of the way from quiet to the strongest motion, beyond which something moves
const QUIET = 0.3; // how much the quiet beginning of an example weighs, where its gesture weighs 1
const MOMENTS = 12; // that a piece of background teaches
const PENALTIES = [3e-2, 1e-2, 3e-3]; // strongest first
const [ITERATIONS, MEMORY, FLAT] = [60, 8, 1e-4]; // of the search for the best weights
const FOLDS = 24; // of examples at the most, that are left out together
const FAMILIAR = 0.95; // share of the moments of left-out examples that lie within the limit of what is familiar
const LEAST_SPREAD = 0.3; // of a feature within gestures, as a share of that of all features
const THRESHOLDS = [0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3], HOLD_S = [0.35, 0.2, 0.1, 0], REARMS = [0.5, 0.3];
const [REFRACTORY_S, FALSE_COST] = [0.8, 0.25]; // of a false event, in recognized gestures
const [STRANGE_A_MINUTE, QUIET_A_MINUTE] = [6, 0.5]; // events that are allowed
const [STRANGE_COST, QUIET_COST] = [1, 2]; // of each one more
const ENOUGH = 4; // of fewer gestures, a head that lacks one stands for the whole one less well
const STRANGE = -1; // label of a stream with a gesture that its head was not taught

/** Collects examples of gestures and learns from them. Its model must not be fed between begin() and end(): it is reset by both. */
export class Teacher {
  #clip = null;

  constructor(model) {
    if (!model.info.teach) throw new Error("This model cannot be taught in a page.");
    [this.model, this.examples] = [model, []];
  }

  /** label: of the gesture that comes; null for footage without one. live: from a camera. */
  begin(label, { live = false } = {}) {
    this.#clip = { label, ticks: new Ticks({ ...this.model.info, live }), frames: [], last: null };
  }

  /** A picture of it; see Model.step. */
  add(picture, time) {
    const clip = this.#clip, due = clip.ticks.put(this.model.prepare(picture), time);
    clip.frames.push(...due.map(({ item }) => item));
  }

  /** The clip is over. Returns how long it is, in frames of the network; throws for one that is too short, which is left out. */
  end() {
    const { label, ticks, frames } = this.#clip, { hop, rate } = this.model.info;
    this.#clip = null;
    frames.push(...ticks.rest().map(({ item }) => item));
    const least = label === null ? 1 : Math.max(SHORTEST, hop);
    if (frames.length < least) throw new Error(`This example is too short: ${frames.length} of at least ${least} frames, ${rate.toFixed(0)} a second.`);
    const number = (this.examples.at(-1)?.number ?? -1) + 1, { features, seen } = this.#features(frames, label === null ? 0 : 1);
    if (label === null) {
      const steps = Math.max(1, even((PIECE_S * rate) / hop)), pieces = Math.max(1, even(seen.length / steps));
      for (const [from, to] of split(seen.length, pieces)) {
        this.examples.push({ label, number, features: features.slice(from, to), seen: seen.slice(from, to) });
      }
    } else {
      this.examples.push({ label, number, features, seen, moves: span(frames, this.model.info.std) });
    }
    return { number, label, frames: frames.length, seconds: frames.length / rate };
  }

  /** Leaves out what end() gave this number. */
  forget(number) {
    this.examples = this.examples.filter((example) => example.number !== number);
  }

  /**
   * {labels, events, head: {weight, bias, ...familiar}} for Model.become; and told: how often each gesture's examples were taken for what, when they
   * had been left out. Throws where there is too little to learn from.
   */
  async learn() {
    const { teach, hop, rate } = this.model.info, step = hop / rate, { window, background } = teach, taken = this.examples;
    const labels = [background, ...new Set(taken.map(({ label }) => label).filter((label) => label !== null).sort())];
    check(taken, labels, teach.fewest);
    const rows = rowsOf(taken, labels, teach), own = taken.map(({ label }) => Math.max(0, labels.indexOf(label)));
    const { penalty, unseen } = leaveOut(rows, folds(own)), solution = rows.fit(penalty), head = rows.head(solution);
    const streams = taken.map(({ features }, i) => ({ scores: features.map((row) => softmax(logits(unseen[i], row))), label: own[i] }));
    const { rule, outcome } = tune([...streams, ...strangers(taken, own, rows, penalty, solution)], labels, step);
    const told = Object.fromEntries(labels.slice(1).map((label) => [label, Object.fromEntries(labels.map((other) => [other, 0]))]));
    taken.forEach((example, i) => {
      if (example.label === null) return;
      const at = gesture(example.moves, example.seen, window), means = labels.map((_, k) => sum(at.map((j) => streams[i].scores[j][k])));
      told[example.label][labels[means.indexOf(Math.max(...means))]]++;
    });
    const { limit, steep, ...arrays } = head, stored = Object.entries(arrays).map(([name, values]) => [name, Float32Array.from(values.flat())]);
    return { labels, events: rule, head: { ...Object.fromEntries(stored), limit, steep }, told, outcome, penalty, clips: taken.length };
  }

  /** The last frame is held, so that a network with a delay sees all of them; more: how often HELD_S as well. */
  #features(frames, more) {
    const { hop, rate, feature_delay: delay } = this.model.info, lag = delay + more * even(HELD_S * rate);
    const held = lag + modulo(-(frames.length + lag), hop);
    const all = [...this.model.features([...frames, ...Array(held).fill(frames.at(-1))])];
    const seen = all.map((_, i) => (i + 1) * hop - 1 - delay), first = seen.findIndex((frame) => frame >= 0);
    return { features: all.slice(first), seen: seen.slice(first) };
  }
}

function check(taken, labels, fewest) {
  const counts = labels.slice(1).map((label) => [label, taken.filter((example) => example.label === label).length]);
  const few = counts.filter(([, count]) => count < fewest);
  if (few.length) throw new Error(`Too few examples: ${few.map(([label, count]) => `${count} of ${label}`).join(", ")}. Five of each are better, ${fewest} the least.`);
  if (!counts.length || (counts.length === 1 && taken.every(({ label }) => label !== null))) {
    throw new Error("There is nothing to tell apart: two gestures are needed, or one and something without a gesture.");
  }
}

// -- moments ----------------------------------------------------------------------------------------------------------------------

/** Between which frames an example moves; one that moves all the time, or never, is all gesture. frames: (C, H, W) each, in units of std. */
function span(frames, std) {
  const all = { first: 0, last: frames.length - 1 }, area = frames[0].length / std.length;
  const change = frames.slice(1).map((frame, i) => frame.reduce((total, value, j) => total + std[Math.floor(j / area)] * Math.abs(value - frames[i][j]), 0));
  const smooth = change.map((_, i) => ((change[i - 1] ?? 0) + change[i] + (change[i + 1] ?? 0)) / 3);
  const quiet = percentile(smooth, 0.1), strong = percentile(smooth, 0.95);
  const moving = smooth.flatMap((value, i) => (value > quiet + MOVING * (strong - quiet) ? [i] : []));
  return moving.length < 2 ? all : { first: moving[0], last: moving.at(-1) + 1 };
}

/** Which steps teach the gesture: from the middle of the motion on, until the window begins to forget it. */
function gesture({ first, last }, seen, window) {
  const steps = seen.flatMap((frame, i) => (frame >= (first + last) / 2 && frame <= last + Math.floor(window / 2) ? [i] : []));
  return steps.length ? steps : [seen.length - 1];
}

function rowsOf(taken, labels, { window, steep }) {
  const rows = []; // {features, label, weight, group}
  const add = ({ features }, at, label, total, group) => {
    for (const i of at) rows.push({ features: features[i], label, weight: total / at.length, group });
  };
  taken.forEach((example, group) => {
    const { label, seen, moves } = example;
    if (label === null) {
      const at = Array.from({ length: MOMENTS }, (_, i) => even((i * (seen.length - 1)) / (MOMENTS - 1)));
      return add(example, [...new Set(at)], 0, 1, group);
    }
    add(example, gesture(moves, seen, window), labels.indexOf(label), 1, group);
    add(example, seen.flatMap((frame, i) => (frame < moves.first ? [i] : [])), 0, QUIET, group);
  });
  const totals = labels.map((_, k) => sum(rows.filter(({ label }) => label === k).map(({ weight }) => weight)));
  for (const row of rows) row.weight /= totals[row.label];
  return new Rows(rows, labels.length, steep);
}

// -- the classifier: multinomial logistic regression with L2 on standardized features ------------------------------------------------

/** Solved in the space that the rows span, which is exact: the penalized solution lies in it. */
class Rows {
  constructor(rows, classes, steep) {
    [this.rows, this.classes, this.steep] = [rows, classes, steep];
    const width = rows[0].features.length, total = sum(rows.map(({ weight }) => weight));
    const mean = (of) => Array.from({ length: width }, (_, j) => sum(rows.map((row) => (row.weight / total) * of(row.features[j], j))));
    this.mean = mean((value) => value);
    const spread = mean((value, j) => (value - this.mean[j]) ** 2).map(Math.sqrt);
    const usual = Math.sqrt(sum(spread.map((value) => value ** 2)) / width); // one that hardly changed must not count as much
    this.scale = spread.map((value) => (value + 1e-2 * usual + 1e-12) * Math.sqrt(width));
    const x = rows.map(({ features }) => Float64Array.from(features, (value, j) => (value - this.mean[j]) / this.scale[j]));
    this.basis = basisOf(x);
    this.coordinates = x.map((row) => [...this.basis.map((way) => dot(way, row)), 1]);
  }

  /** A solution in coordinates, (r + 1) x K, as weights on the features themselves; and what is familiar without these groups. */
  head(solution, left = []) {
    const { classes, basis, scale, mean } = this, r = basis.length;
    const weight = Array.from({ length: classes }, (_, k) => scale.map((by, j) => sum(basis.map((way, i) => way[j] * solution[i * classes + k])) / by));
    return { weight, bias: weight.map((row, k) => solution[r * classes + k] - dot(row, mean)), ...this.familiar(left) };
  }

  /**
   * Of the gestures: the distance of features to one is the square of features * scale - center - means[k]; limit is what moments of examples
   * keep to that are left out themselves.
   */
  familiar(left) {
    const rows = this.rows.filter(({ label, group }) => label > 0 && !left.includes(group)), width = rows[0].features.length;
    const average = (some, of) => {
      const total = sum(some.map(({ weight }) => weight));
      return Array.from({ length: width }, (_, j) => sum(some.map((row) => row.weight * of(row.features[j], j, row))) / total);
    };
    const there = [...new Set(rows.map(({ label }) => label))].sort((a, b) => a - b), of = there.map((k) => rows.filter(({ label }) => label === k));
    const middle = average(rows, (value) => value), raw = of.map((some) => average(some, (value) => value));
    const spread = average(rows, (value, j, { label }) => (value - raw[there.indexOf(label)][j]) ** 2), usual = Math.sqrt(sum(spread) / width);
    const scale = spread.map((square) => 1 / Math.max(Math.sqrt(square), LEAST_SPREAD * usual + 1e-12) / Math.sqrt(width));
    const center = middle.map((value, j) => value * scale[j]), scaled = (row) => Array.from(row, (value, j) => value * scale[j] - center[j]);
    const means = raw.map(scaled), z = rows.map(({ features }) => scaled(features));
    const total = of.map((some) => sum(some.map(({ weight }) => weight)));
    const nearest = rows.map(({ label, group, weight }, i) => {
      const k = there.indexOf(label), mine = rows.flatMap((row, n) => (row.group === group ? [n] : [])), share = sum(mine.map((n) => rows[n].weight));
      const other = (j) => (means[k][j] * total[k] - sum(mine.map((n) => rows[n].weight * z[n][j]))) / (total[k] - share);
      const without = share < total[k] * (1 - 1e-9) ? means[k].map((_, j) => other(j)) : means[k]; // the mean without this example
      return { weight, distance: Math.min(...means.map((mean, n) => squares(z[i], n === k ? without : mean))) };
    }).sort((a, b) => a.distance - b.distance);
    let reached = 0;
    const least = FAMILIAR * sum(nearest.map(({ weight }) => weight)), limit = nearest.find(({ weight }) => (reached += weight) >= least).distance;
    return { scale, center, means, limit: limit + 1e-12, steep: this.steep };
  }

  /** without: the groups that are left out. */
  fit(penalty, without = [], start = null) {
    const { classes, coordinates } = this, width = coordinates[0].length;
    const kept = this.rows.flatMap(({ group, label, weight }, i) => (without.includes(group) ? [] : [{ x: coordinates[i], label, weight }]));
    const total = sum(kept.map(({ weight }) => weight));
    // the bias is free, but stays finite for a class that was left out altogether
    const decay = (i) => (i < (width - 1) * classes ? penalty : 1e-6);
    const loss = (w) => {
      const slope = Float64Array.from(w, (value, i) => decay(i) * value);
      let value = 0.5 * dot(slope, w);
      for (const { x, label, weight } of kept) {
        const share = weight / total, logs = logSoftmax(times(x, w, classes));
        value -= share * logs[label];
        const turned = logs.map((log, k) => share * (Math.exp(log) - (k === label)));
        for (let i = 0; i < width; i++) for (let k = 0; k < classes; k++) slope[i * classes + k] += x[i] * turned[k];
      }
      return { value, slope };
    };
    return minimize(loss, start ?? new Float64Array(width * classes));
  }

  cost(group, solution) {
    const own = this.rows.flatMap((row, i) => (row.group === group ? [{ ...row, x: this.coordinates[i] }] : []));
    const costs = own.map(({ x, label, weight }) => -weight * logSoftmax(times(x, solution, this.classes))[label]);
    return sum(costs) / sum(own.map(({ weight }) => weight));
  }
}

/** Groups that are left out together: each for itself, or of many so many sets with a share of every label. own: labels of the groups. */
function folds(own) {
  const order = own.map((_, group) => group).sort((a, b) => own[a] - own[b] || a - b);
  return Array.from({ length: FOLDS }, (_, first) => order.filter((_, i) => i % FOLDS === first)).filter(({ length }) => length);
}

/** The penalty under which examples that were left out are told best, and for each of them the head that has never seen it. */
function leaveOut(rows, sets) {
  let best = null, whole = null;
  for (const penalty of PENALTIES) {
    whole = rows.fit(penalty, [], whole);
    const found = sets.map((left) => rows.fit(penalty, left, whole));
    const costs = sets.flatMap((left, i) => left.map((group) => rows.cost(group, found[i]))), cost = sum(costs) / costs.length;
    if (!best || cost < best.cost) best = { cost, penalty, found };
    else if (cost > 1.2 * best.cost) break; // the loss has a single valley
  }
  const unseen = [];
  sets.forEach((left, i) => {
    const head = rows.head(best.found[i], left);
    for (const group of left) unseen[group] = head;
  });
  return { penalty: best.penalty, unseen };
}

/** What is said of each gesture by a head that was taught only the others; nothing where there is but one. */
function strangers(taken, own, rows, penalty, solution) {
  const gestures = [...new Set(own)].filter((label) => label > 0).sort((a, b) => a - b);
  return (gestures.length > 1 ? gestures : []).flatMap((gesture) => {
    const left = own.flatMap((label, i) => (label === gesture ? [i] : [])), head = rows.head(rows.fit(penalty, left, solution), left);
    const said = (row) => logits(head, row).map((logit, k) => (k === gesture ? -Infinity : logit)); // there is no such label
    return left.map((i) => ({ scores: taken[i].features.map((row) => softmax(said(row))), label: STRANGE }));
  });
}

/** L-BFGS (Nocedal and Wright, algorithm 7.5) with backtracking, for smooth convex functions. */
function minimize(loss, x) {
  let { value, slope } = loss(x), steps = [];
  for (let round = 0; round < ITERATIONS && slope.some((each) => Math.abs(each) >= FLAT); round++) {
    const way = direction(slope, steps), fall = dot(way, slope);
    let length = steps.length ? 1 : Math.min(1, 1 / Math.sqrt(dot(slope, slope))), next, then;
    for (; ; length /= 2) {
      next = x.map((each, i) => each - length * way[i]);
      then = loss(next);
      if (then.value <= value - 1e-4 * length * fall || length < 1e-10) break;
    }
    const moved = way.map((each) => -length * each), turned = then.slope.map((each, i) => each - slope[i]);
    if (dot(moved, turned) > 1e-14) steps = [...steps.slice(1 - MEMORY), { moved, turned }];
    [x, value, slope] = [next, then.value, then.slope];
  }
  return x;
}

function direction(slope, steps) {
  const way = slope.slice(), shares = [];
  const add = (share, other) => other.forEach((each, i) => (way[i] += share * each));
  for (const { moved, turned } of steps.toReversed?.() ?? [...steps].reverse()) {
    shares.unshift(dot(moved, way) / dot(moved, turned));
    add(-shares[0], turned);
  }
  const newest = steps.at(-1);
  const scale = newest ? dot(newest.moved, newest.turned) / dot(newest.turned, newest.turned) : 1;
  way.forEach((_, i) => (way[i] *= scale));
  steps.forEach(({ moved, turned }, i) => add(shares[i] - dot(turned, way) / dot(moved, turned), moved));
  return way;
}

// -- the event rule -----------------------------------------------------------------------------------------------------------------

/** The rule with the most hits less what false events cost; of equals the one that asks for more. */
function tune(streams, labels, step) {
  let best = null;
  const holds = [...new Set(HOLD_S.map((seconds) => 1 + even(seconds / step)))];
  for (const threshold of THRESHOLDS) for (const hold_steps of holds) for (const rearm of REARMS) {
    const rule = { background: labels[0], threshold, hold_steps, refractory_s: REFRACTORY_S, rearm }, outcome = outcomeOf(streams, rule, labels, step);
    const value = worth(outcome, labels.length - 1);
    if (!best || value > best.value) best = { value, rule, outcome };
  }
  return best;
}

/** In recognized gestures. */
function worth(outcome, gestures) {
  const strange = Math.max(0, outcome.strange_false - (STRANGE_A_MINUTE * outcome.strange_s) / 60);
  const quiet = Math.max(0, outcome.quiet_false - (QUIET_A_MINUTE * outcome.quiet_s) / 60);
  const dear = STRANGE_COST * Math.min(1, gestures / ENOUGH);
  return outcome.hits - FALSE_COST * outcome.false - dear * strange - QUIET_COST * quiet;
}

/** hits: examples whose first event is right; false: all other events on those and on background, where they are quiet_false too. */
function outcomeOf(streams, rule, labels, step) {
  const outcome = { hits: 0, examples: 0, false: 0, quiet_false: 0, quiet_s: 0, strange_false: 0, strange_s: 0 };
  for (const { scores, label } of streams) {
    const detector = new EventDetector(rule, labels), found = scores.map((row, i) => detector.update(row, i * step)).filter(Boolean);
    if (label > 0) {
      const right = Number(found[0]?.index === label);
      [outcome.hits, outcome.examples, outcome.false] = [outcome.hits + right, outcome.examples + 1, outcome.false + found.length - right];
    } else if (label === STRANGE) {
      [outcome.strange_false, outcome.strange_s] = [outcome.strange_false + found.length, outcome.strange_s + scores.length * step];
    } else {
      [outcome.quiet_false, outcome.quiet_s] = [outcome.quiet_false + found.length, outcome.quiet_s + scores.length * step];
      outcome.false += found.length;
    }
  }
  return outcome;
}

// -- numbers ------------------------------------------------------------------------------------------------------------------------

const sum = (values) => values.reduce((a, b) => a + b, 0);
const modulo = (a, b) => ((a % b) + b) % b;

/** Rounded; halves to the even number. */
const even = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/** [from, to) of n things in so many parts, the larger ones first. */
const split = (n, parts) => {
  const [size, more] = [Math.floor(n / parts), n % parts], at = (i) => i * size + Math.min(i, more);
  return Array.from({ length: parts }, (_, i) => [at(i), at(i + 1)]);
};

function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b), at = share * (sorted.length - 1), low = Math.floor(at);
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

function dot(a, b) {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
}

const squares = (a, b) => a.reduce((total, value, j) => total + (value - b[j]) ** 2, 0);

const logits = (head, features) => {
  const plain = head.weight.map((row, k) => dot(row, features) + head.bias[k]);
  plain[0] += beyond({ ...head, means: head.means.flat() }, features);
  return plain;
};

/** x (r) times w (r x classes). */
function times(x, w, classes) {
  const made = new Array(classes).fill(0);
  for (let i = 0; i < x.length; i++) for (let k = 0; k < classes; k++) made[k] += x[i] * w[i * classes + k];
  return made;
}

function logSoftmax(values) {
  const most = Math.max(...values), log = most + Math.log(sum(values.map((value) => Math.exp(value - most))));
  return values.map((value) => value - log);
}

/** Directions of the space that rows span, orthonormal, by Jacobi's rotations of the smaller matrix of products. */
function basisOf(rows) {
  const wide = rows.length < rows[0].length, columns = wide ? rows : Array.from(rows[0], (_, j) => Float64Array.from(rows, (row) => row[j]));
  const products = columns.map((a) => Float64Array.from(columns, (b) => dot(a, b)));
  const { values, vectors } = eigen(products), kept = values.flatMap((value, i) => (value > 1e-12 * Math.max(...values) ? [i] : []));
  if (!wide) return kept.map((i) => vectors[i]);
  return kept.map((i) => Float64Array.from(rows[0], (_, j) => sum(rows.map((row, k) => row[j] * vectors[i][k])) / Math.sqrt(values[i])));
}

/** Of a symmetric matrix, which is changed; vectors are rows. */
function eigen(a) {
  const n = a.length, vectors = a.map((_, i) => Float64Array.from(a, (_, j) => Number(i === j)));
  const whole = Math.sqrt(sum(a.map((row) => dot(row, row))));
  const turn = (row, other, c, s) => {
    for (let k = 0; k < n; k++) {
      const x = row[k], y = other[k];
      [row[k], other[k]] = [c * x - s * y, s * x + c * y];
    }
  };
  for (let sweep = 0; sweep < 60; sweep++) {
    let left = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) {
      const off = a[p][q];
      left = Math.max(left, Math.abs(off));
      if (Math.abs(off) <= 1e-17 * whole) continue;
      const theta = (a[q][q] - a[p][p]) / (2 * off), t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
      const c = 1 / Math.hypot(t, 1), s = t * c;
      turn(a[p], a[q], c, s);
      for (const row of a) {
        const x = row[p], y = row[q];
        [row[p], row[q]] = [c * x - s * y, s * x + c * y];
      }
      turn(vectors[p], vectors[q], c, s);
    }
    if (left <= 1e-15 * whole) break;
  }
  return { values: a.map((row, i) => row[i]), vectors };
}
