// A chart of numbers by hour or day, drawn by uPlot as steps, with a legend that shows the values.
//
// new Buckets(element, { title, series: [{ name, label, series }] })
// show(buckets, step): buckets [{ from: seconds, name: number, … }], step in seconds

import uPlot from "../vendor/uPlot.esm.js";
import { element, setText } from "./dom.js";
import { moment, number } from "./format.js";
import { colour, colourOf, dot } from "./series.js";

const HEIGHT = 180;
const DAY = 86_400;
const hour = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export class Buckets {
  constructor(target, { title, series }) {
    this.series = series;
    this.buckets = [];
    this.step = 3600;
    this.at = element("span", { class: "soft num under" });
    this.values = new Map(series.map(({ name }) => [name, element("span", { class: "value" })]));
    const legend = element("div", { class: "legend" });
    legend.append(this.at, ...series.map((one) => element("span", { class: "named" }, dot(one.series), `${one.label} `, this.values.get(one.name))));
    this.plot = element("div", { class: "plot buckets", role: "img", "aria-label": title });
    target.append(element("div", { class: "chart-head" }, element("h3", {}, title), legend), this.plot);
    this.build();
    new ResizeObserver(() => this.resize()).observe(this.plot);
    document.addEventListener("themechange", () => this.build());
  }

  show(buckets, step) {
    const longer = step !== this.step || buckets.length !== this.buckets.length;
    this.buckets = buckets;
    this.step = step;
    if (longer) this.build();
    else this.drawn.setData(this.data());
    this.showValues(this.drawn.cursor.idx);
  }

  build() {
    this.drawn?.destroy();
    const grid = { stroke: colour("line"), width: 1 };
    const axis = { stroke: colour("soft"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const stepped = uPlot.paths.stepped({ align: 1 });
    this.drawn = new uPlot(
      {
        width: Math.max(this.plot.clientWidth, 60),
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(4, (high ?? 0) * 1.08)] } },
        axes: [
          { ...axis, size: 24, space: 60, values: (_, at) => at.map((one) => this.tick(one)) },
          { ...axis, size: 50, space: 28, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 1e5, 1e6], values: (_, at) => at.map(number) },
        ],
        series: [
          {},
          ...this.series.map((one) => ({
            label: one.label, stroke: colourOf(one.series), width: 1.6, paths: stepped, points: { show: false },
          })),
        ],
        hooks: { setCursor: [(drawn) => this.showValues(drawn.cursor.idx)] },
      },
      this.data(),
      this.plot,
    );
  }

  // A bucket lasts until the next one begins, the last one, too.
  data() {
    if (this.buckets.length === 0) return [[], ...this.series.map(() => [])];
    const last = this.buckets.at(-1);
    const all = [...this.buckets, { ...last, from: last.from + this.step }];
    return [all.map((one) => one.from), ...this.series.map(({ name }) => all.map((one) => one[name]))];
  }

  tick(at) {
    const begins = new Date(at * 1000);
    return this.step >= DAY || (begins.getHours() === 0 && begins.getMinutes() === 0) ? date.format(begins) : hour.format(begins);
  }

  showValues(index) {
    const place = Math.min(index ?? Infinity, this.buckets.length - 1);
    const bucket = this.buckets[place];
    const words = this.step >= DAY ? "day" : "hour";
    setText(this.at, bucket === undefined ? "" : index === null || index === undefined ? `this ${words}:` : `${moment(bucket.from)}:`);
    for (const [name, value] of this.values) setText(value, bucket === undefined ? "" : number(bucket[name]));
  }

  resize() {
    const width = this.plot.clientWidth;
    if (width > 0 && Math.abs(width - this.drawn.width) > 1) this.drawn.setSize({ width, height: HEIGHT });
  }
}
