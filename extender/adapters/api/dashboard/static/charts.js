// Pictures of the dashboard: the carbon curve of a zone as SVG, and the map of nodes on a canvas.
const SVG = "http://www.w3.org/2000/svg";
const MOST_AHEAD_S = 48 * 3600;
const W = 560, H = 190, LEFT = 58, RIGHT = 8, TOP = 10, BOTTOM = 132, BARS = 168;

export const clock = (s) => {
  const at = new Date(s * 1000), today = new Date();
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  if (at.toDateString() === today.toDateString()) return time;
  const near = Math.abs(at - today) < 6 * 86400e3;
  return `${at.toLocaleDateString([], near ? { weekday: "short" } : { year: "numeric", month: "short", day: "numeric" })} ${time}`;
};

function draw(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// Steps of the forecast as [start, value, low, high].
const steps = (zone) => zone.values.map((value, i) => [zone.start_s + i * zone.step_s, value, zone.low[i] ?? value, zone.high[i] ?? value]);

export function valueAt(zone, at_s, now_s) {
  if (at_s > now_s) {
    const i = Math.floor((at_s - zone.start_s) / zone.step_s);
    return zone.values[Math.max(0, i)];
  }
  return zone.past.findLast(([seen_s]) => seen_s <= at_s)?.[1];
}

export function coresAt(zone, carbon, at_s) {
  return zone.cores[Math.floor((at_s - carbon.first_s) / carbon.work_step_s)] ?? 0;
}

export function carbonCurve(zone, carbon, now_s) {
  // As far as the forecast reaches: two days, or seconds in the demo, whose hours are short.
  const reach = zone.values.length ? zone.start_s + zone.values.length * zone.step_s - now_s : MOST_AHEAD_S;
  const ahead_s = Math.max(20, Math.min(MOST_AHEAD_S, reach)), behind_s = ahead_s / 4;
  const from = now_s - behind_s, until = now_s + ahead_s;
  const x = (s) => LEFT + ((s - from) / (until - from)) * (W - LEFT - RIGHT);
  const past = zone.past.filter(([s]) => s >= from), ahead = zone.start_s === null ? [] : steps(zone).filter(([s]) => s < until);
  const values = [...past.map((p) => p[1]), ...ahead.map((p) => p[3])];
  const top = Math.max(50, Math.ceil(Math.max(0, ...values) / 50) * 50);
  const y = (g) => BOTTOM - (Math.min(g, top) / top) * (BOTTOM - TOP);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
  svg.setAttribute("role", "img");
  const least = ahead.length ? ahead.reduce((a, b) => (b[1] < a[1] ? b : a)) : null;
  svg.setAttribute("aria-label", `${zone.zone}: ${zone.now === null ? "not known" : `${Math.round(zone.now)} grams per kilowatt hour now`}` +
    (least ? `, lowest forecast ${Math.round(least[1])} at ${clock(least[0])}` : ""));
  for (const share of [0, 0.5, 1]) {
    draw(svg, "line", { class: "axis", x1: LEFT, x2: W - RIGHT, y1: y(top * share), y2: y(top * share) });
    draw(svg, "text", { x: LEFT - 5, y: y(top * share) + 4, "text-anchor": "end" }, Math.round(top * share));
  }
  const [unit_s, unit] = ahead_s > 7200 ? [3600, "h"] : ahead_s > 240 ? [60, "min"] : [1, "s"];
  for (const share of [-0.25, 0.25, 0.5, 0.75, 1]) {
    const text = `${share > 0 ? "+" : "−"}${Math.abs(Math.round((share * ahead_s) / unit_s))} ${unit}`;
    draw(svg, "text", { x: x(now_s + share * ahead_s), y: H - 4, "text-anchor": share < 0 ? "start" : share === 1 ? "end" : "middle" }, text);
  }
  const most = Math.max(1, ...zone.cores);
  zone.cores.forEach((cores, i) => {
    const start = Math.max(from, carbon.first_s + i * carbon.work_step_s), left = x(start);
    const width = x(Math.min(until, carbon.first_s + (i + 1) * carbon.work_step_s)) - left, height = (cores / most) * (BARS - BOTTOM - 6);
    if (cores > 0 && width > 0) draw(svg, "rect", { class: "bars", x: left, y: BARS - height, width: width + 0.3, height });
  });
  draw(svg, "line", { class: "axis", x1: LEFT, x2: W - RIGHT, y1: BARS, y2: BARS });
  if (zone.cores.length) draw(svg, "text", { x: LEFT - 5, y: BARS, "text-anchor": "end" }, `${Math.round(most)} ${most < 1.5 ? "core" : "cores"}`);
  if (zone.low.length) {
    const edge = (which) => ahead.flatMap((step) => [[step[0], step[which]], [Math.min(until, step[0] + zone.step_s), step[which]]]);
    const points = [...edge(3), ...edge(2).reverse()].map(([s, g]) => `${x(Math.max(from, s))},${y(Math.max(0, g))}`);
    draw(svg, "polygon", { class: "band", points: points.join(" ") });
  }
  for (const bound of [zone.lower, zone.upper]) if (bound !== null) draw(svg, "line", { class: "bound", x1: x(now_s), x2: W - RIGHT, y1: y(bound), y2: y(bound) });
  const path = (points) => points.map(([s, g], i) => `${i ? "L" : "M"}${x(s).toFixed(1)} ${y(g).toFixed(1)}`).join("");
  const line = past.map(([s, g]) => [s, g]);
  if (zone.now !== null) line.push([now_s, zone.now]);
  if (line.length > 1) draw(svg, "path", { class: "curve", d: path(line) });
  const dashed = ahead.flatMap(([s, v]) => [[Math.max(now_s, s), v], [Math.min(until, s + zone.step_s), v]]);
  if (dashed.length) draw(svg, "path", { class: "curve ahead", d: path(dashed) });
  draw(svg, "line", { class: "now", x1: x(now_s), x2: x(now_s), y1: TOP, y2: BARS });
  draw(svg, "text", { x: x(now_s), y: H - 4, "text-anchor": "middle" }, "now");
  return { svg, at: (px) => from + ((px - LEFT) / (W - LEFT - RIGHT)) * (until - from), x };
}

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

export class NodeMap {
  // A cell a node, as large as the width allows: used from below, reserved above it, hatched.
  constructor(canvas, text) {
    this.canvas = canvas; this.text = text; this.names = []; this.zones = []; this.order = []; this.chosen = -1; this.section = null;
    canvas.addEventListener("pointermove", (e) => this.choose(this.cellAt(e.offsetX, e.offsetY)));
    canvas.addEventListener("keydown", (e) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns }[e.key];
      if (by === undefined) return;
      e.preventDefault();
      this.choose(Math.min(this.order.length - 1, Math.max(0, this.chosen + by)));
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    new ResizeObserver(() => this.paint()).observe(canvas.parentElement);
  }
  name({ epoch, names, zones }) {
    this.epoch = epoch; this.names = names; this.zones = zones;
    const by = new Intl.Collator(undefined, { numeric: true }).compare;
    this.order = names.map((_, i) => i).sort((a, b) => by(zones[a], zones[b]) || by(names[a], names[b]));
    this.paint();
  }
  show(section) {
    this.section = { epoch: section.epoch, used: bytes(section.used), taken: bytes(section.taken), flags: bytes(section.flags) };
    this.paint();
  }
  cellAt(px, py) {
    const at = Math.floor(py / this.step) * this.columns + Math.floor(px / this.step);
    return at >= 0 && at < this.order.length && px < this.columns * this.step ? at : -1;
  }
  choose(cell) {
    if (cell === this.chosen) return;
    this.chosen = cell;
    this.paint();
  }
  describe() {
    const s = this.section;
    if (this.chosen < 0 || !s) {
      this.text.textContent = `${this.order.length} nodes; point at one, or use the arrow keys`;
      return;
    }
    const i = this.order[this.chosen], closed = s.flags[i] !== 3;
    this.text.textContent = `${this.names[i]}${this.zones[i] ? ` in ${this.zones[i]}` : ""}: ${s.used[i]} % used, ` +
      `${s.taken[i] - s.used[i]} % reserved, ${Math.max(0, 100 - s.taken[i])} % free${closed ? "; not ready or cordoned" : ""}`;
  }
  paint() {
    const s = this.section, count = this.order.length, canvas = this.canvas;
    if (!s || s.used.length !== count) return;
    const width = canvas.parentElement.clientWidth - 34, ratio = devicePixelRatio || 1;
    this.step = Math.max(5, Math.min(26, Math.floor(Math.sqrt((width * 260) / Math.max(1, count)))));
    this.columns = Math.max(1, Math.floor(width / this.step));
    const height = Math.ceil(count / this.columns) * this.step || this.step;
    canvas.width = width * ratio; canvas.height = height * ratio; canvas.style.height = `${height}px`; canvas.style.width = `${width}px`;
    const g = canvas.getContext("2d"), style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
    const [used, reserved, free, closed, focus] = ["--used", "--reserved", "--free", "--closed", "--focus"].map(colour);
    const gap = this.step > 9 ? 2 : 1, size = this.step - gap;
    g.scale(ratio, ratio);
    for (let cell = 0; cell < count; cell++) {
      const i = this.order[cell], x = (cell % this.columns) * this.step, y = Math.floor(cell / this.columns) * this.step;
      if (s.flags[i] !== 3) {
        g.strokeStyle = closed; g.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
        g.beginPath(); g.moveTo(x, y + size); g.lineTo(x + size, y); g.stroke();
        if (!s.used[i]) continue;
      } else { g.fillStyle = free; g.fillRect(x, y, size, size); }
      const up = (percent) => Math.min(size, Math.round((size * percent) / 100) || (percent ? 1 : 0)), low = up(s.used[i]), high = up(s.taken[i]);
      g.fillStyle = reserved; g.fillRect(x, y + size - high, size, high - low);
      g.fillStyle = used; g.fillRect(x, y + size - low, size, low);
      if (size > 12 && high > low + 2) {
        g.strokeStyle = free; g.beginPath();
        for (let line = y + size - high + 2; line < y + size - low; line += 3) { g.moveTo(x, line + 0.5); g.lineTo(x + size, line + 0.5); }
        g.stroke();
      }
    }
    if (this.chosen >= 0 && this.chosen < count) {
      g.strokeStyle = focus; g.lineWidth = 2;
      g.strokeRect((this.chosen % this.columns) * this.step - 1, Math.floor(this.chosen / this.columns) * this.step - 1, this.step, this.step);
    }
    canvas.setAttribute("aria-label", `Map of ${count} nodes: share of each that is used, reserved and free`);
    this.describe();
  }
}
