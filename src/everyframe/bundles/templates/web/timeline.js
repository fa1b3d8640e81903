// Scores over the last seconds as lines, and events as flags, on a canvas.

const COLORS = {
  light: ["#0b7a66", "#c2410c", "#2563eb", "#a16207", "#9333ea", "#be185d", "#0e7490", "#4d7c0f", "#7c2d12", "#4338ca", "#b91c1c", "#15803d"],
  dark: ["#41c7ab", "#fb923c", "#60a5fa", "#facc15", "#c084fc", "#f472b6", "#22d3ee", "#a3e635", "#fdba74", "#a5b4fc", "#fca5a5", "#86efac"],
};
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Of a line or a row; the background has none. */
export const colorOf = (index, background) =>
  index === background ? "transparent" : COLORS[dark.matches ? "dark" : "light"][index % COLORS.light.length];

export class Timeline {
  /** seconds: how far back it goes. */
  constructor(canvas, seconds = 20) {
    [this.canvas, this.seconds, this.background] = [canvas, seconds, -1];
    this.clear();
    new ResizeObserver(() => this.draw()).observe(canvas);
    dark.addEventListener("change", () => this.draw());
  }

  clear() {
    [this.steps, this.flags] = [[], []];
  }

  add(time, scores) {
    this.steps.push({ time, scores });
    while (this.steps[0].time < time - this.seconds - 1) this.steps.shift();
  }

  flag(event, text) {
    this.flags.push({ ...event, text });
  }

  draw() {
    const { canvas } = this, ratio = devicePixelRatio || 1, { width, height } = canvas.getBoundingClientRect();
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const soft = style.getPropertyValue("--soft"), line = style.getPropertyValue("--line"), ink = style.getPropertyValue("--ink");
    pen.scale(ratio, ratio);
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const [left, top, bottom] = [34, 24, height - 20], now = this.steps.at(-1)?.time ?? 0;
    const x = (time) => width - 4 - ((now - time) / this.seconds) * (width - left - 4);
    const y = (score) => bottom - score * (bottom - top);
    pen.fillStyle = soft;
    pen.strokeStyle = line;
    pen.textBaseline = "middle";
    for (const score of [0, 0.5, 1]) {
      pen.fillText(`${100 * score}%`, 0, y(score));
      stroke(pen, [[left, y(score)], [width - 4, y(score)]]);
    }
    pen.textAlign = "center";
    for (let back = 5; back < this.seconds; back += 5) pen.fillText(`−${back} s`, x(now - back), height - 8);
    pen.save();
    pen.rect(left, 0, width - left, height);
    pen.clip();
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    const seen = this.steps.filter((step) => step.time >= now - this.seconds - 1);
    for (let index = 0; index < (seen[0]?.scores.length ?? 0); index++) {
      if (index === this.background || !seen.some((step) => step.scores[index] > 0.03)) continue;
      pen.strokeStyle = colorOf(index, this.background);
      stroke(pen, seen.map((step) => [x(step.time), y(step.scores[index])]));
    }
    pen.lineWidth = 1;
    let free = width; // a name that would run into a newer one is left out
    for (const { time, index, text } of this.flags.filter((flag) => flag.time > now - this.seconds).reverse()) {
      pen.strokeStyle = colorOf(index, this.background);
      pen.setLineDash([3, 3]);
      stroke(pen, [[x(time), top - 6], [x(time), bottom]]);
      pen.setLineDash([]);
      pen.fillStyle = ink;
      const half = pen.measureText(text).width / 2 + 2, at = Math.min(width - half, Math.max(left + half, x(time)));
      if (at + half > free) continue;
      pen.fillText(text, at, 9);
      free = at - half - 4;
    }
    pen.restore();
  }
}

function stroke(pen, points) {
  pen.beginPath();
  points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}
