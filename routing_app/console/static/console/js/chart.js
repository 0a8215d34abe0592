// A moving chart of the last 15 minutes, or of what is known of them, drawn by uPlot, with a legend that shows the values.
//
// new Chart(element, { title, series: [{ name, label, series }], format, least, stacked, binary })
//   name: of the series in the data; series: 1 to 8, its colour; format: number -> string; least: top of an empty axis
//   stacked: each series stands on those before it; binary: steps of the axis are powers of two
// reset(past): { step, until, series: { name: [numbers or null, oldest first] } }
// push(at, now): { name: number or null }
// show(list): other series from now on; what is kept of the others stays

import uPlot from "../vendor/uPlot.esm.js";
import { element, setText } from "./dom.js";
import { rate, time } from "./format.js";
import { colour, colourOf, dot, faint } from "./series.js";

export const KEPT = 900;
const HEIGHT = 150;
const NARROWEST = 120; // seconds that are shown, also of workers that have just started
const POWERS = Array.from({ length: 50 }, (_, exponent) => 2 ** exponent);

export class Chart {
  constructor(target, { title, series, format = rate, least = 1, stacked = false, binary = false }) {
    Object.assign(this, { stacked, binary });
    this.format = format;
    this.least = least;
    this.kept = new Map(); // name -> KEPT numbers or null
    this.off = new Set();
    this.times = Array.from({ length: KEPT }, () => null);
    this.begins = 0; // the first place of `times` with a number of any series
    this.legend = element("div", { class: "legend" });
    this.plot = element("div", { class: "plot", role: "img", "aria-label": `${title}, the last 15 minutes` });
    target.classList.add("chart");
    target.append(element("div", { class: "chart-head" }, element("h2", {}, title), this.legend), this.plot);
    this.show(series);
    new ResizeObserver(() => this.resize()).observe(this.plot);
    document.addEventListener("themechange", () => this.build());
    document.addEventListener("visibilitychange", () => this.draw());
  }

  show(series) {
    const names = (list) => JSON.stringify(list);
    if (this.series && names(series) === names(this.series)) return;
    this.series = series;
    this.values = new Map();
    this.legend.replaceChildren(...series.map((one) => this.entry(one)));
    this.build();
  }

  entry(one) {
    const value = element("span", { class: "value" });
    this.values.set(one.name, value);
    const button = element("button", { type: "button", "aria-pressed": String(!this.off.has(one.name)) });
    button.append(dot(one.series), one.label, " ", value);
    button.addEventListener("click", () => {
      const shown = this.off.delete(one.name);
      if (!shown) this.off.add(one.name);
      button.setAttribute("aria-pressed", String(shown));
      this.build();
    });
    return button;
  }

  build() {
    this.drawn?.destroy();
    const grid = { stroke: colour("line"), width: 1 };
    const axis = { stroke: colour("soft"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const least = this.least;
    this.drawn = new uPlot(
      {
        width: Math.max(this.plot.clientWidth, 60),
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        scales: { x: { time: true, range: (_, low, high) => this.span(low, high) }, y: { range: (_, low, high) => [0, Math.max(least, (high ?? 0) * 1.08)] } },
        axes: [
          { ...axis, size: 24, space: 70, values: (_, at, _axis, _space, step) => at.map((one) => time(one).slice(0, step < 60 ? 8 : 5)) },
          { ...axis, size: 58, space: 28, values: (_, at) => at.map((one) => this.format(one)), ...(this.binary && { incrs: POWERS }) },
        ],
        series: [{}, ...this.drawnSeries().map((one, place, all) => this.look(one, place === all.length - 1))],
        bands: this.stacked ? this.drawnSeries().slice(1).map((_, place) => ({ series: [place + 1, place + 2] })) : [],
        hooks: { setCursor: [(drawn) => this.showValues(drawn.cursor.idx)] },
      },
      this.data(),
      this.plot,
    );
    this.showValues(null);
  }

  // Equal for all charts of one past, so that they can be held against each other.
  span(low, high) {
    if (low === null || high === null) return [low, high];
    return [Math.max(low, Math.min(this.times[this.begins], high - NARROWEST)), high];
  }

  // Those that are shown; of stacked ones the highest comes first.
  drawnSeries() {
    const shown = this.series.filter((one) => !this.off.has(one.name));
    return this.stacked ? shown.reverse() : shown;
  }

  look(one, isLowest) {
    const ink = colourOf(one.series);
    const filled = this.stacked || (isLowest && this.series.length === 1);
    return { label: one.label, stroke: ink, width: 1.5, points: { show: false }, ...(filled && { fill: faint(ink) }) };
  }

  data() {
    const shown = this.drawnSeries().map((one) => this.numbers(one.name));
    return [this.times, ...(this.stacked ? sums(shown) : shown)];
  }

  numbers(name) {
    if (!this.kept.has(name)) this.kept.set(name, Array.from({ length: KEPT }, () => null));
    return this.kept.get(name);
  }

  reset({ step, until, series }) {
    this.times = Array.from({ length: KEPT }, (_, index) => until - (KEPT - 1 - index) * step);
    this.kept.clear();
    for (const [name, numbers] of Object.entries(series)) {
      const last = numbers.slice(-KEPT);
      this.kept.set(name, [...Array.from({ length: KEPT - last.length }, () => null), ...last]);
    }
    const first = (numbers) => numbers.findIndex((one) => one !== null);
    this.begins = Math.min(KEPT - 1, ...[...this.kept.values()].map(first).filter((place) => place >= 0));
    this.draw();
  }

  push(at, now) {
    if (at <= this.times[KEPT - 1]) return;
    this.times.push(at);
    this.times.shift();
    this.begins = Math.max(0, this.begins - 1);
    for (const one of this.series) this.numbers(one.name);
    for (const [name, numbers] of this.kept) {
      numbers.push(now[name] ?? null);
      numbers.shift();
    }
    this.draw();
  }

  draw() {
    if (document.hidden) return;
    this.drawn.setData(this.data());
    this.showValues(this.drawn.cursor.idx);
  }

  showValues(index) {
    const place = index ?? KEPT - 1;
    for (const [name, value] of this.values) {
      const number = this.numbers(name)[place];
      const missing = number === null || number === undefined;
      setText(value, missing ? (this.stacked ? this.format(0) : "") : this.format(number));
    }
  }

  resize() {
    const width = this.plot.clientWidth;
    if (width > 0 && Math.abs(width - this.drawn.width) > 1) this.drawn.setSize({ width, height: HEIGHT });
  }
}

// Nothing only where both are nothing: a protocol without a client has no number.
function add(value, other) {
  return value === null && other === null ? null : (value ?? 0) + (other ?? 0);
}

// Each list with those after it added.
function sums(lists) {
  const found = [];
  let below = null;
  for (const list of [...lists].reverse()) {
    const under = below;
    below = list.map((value, index) => add(value, under?.[index] ?? null));
    found.unshift(below);
  }
  return found;
}
