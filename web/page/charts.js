// Lines over the last five minutes, drawn by uPlot.

import { at } from "./elements.js";

const POINTS = 300;

/** A colour of the style sheet as a canvas takes it: what it is in the theme of the moment. */
function colour(name) {
  document.body.style.setProperty("outline-color", `var(${name})`);
  return getComputedStyle(document.body).outlineColor;
}

export class Chart {
  /** `series`: the names of up to two lines; `format`: how a value is shown. */
  constructor(id, series, format) {
    this.data = [[], ...series.map(() => [])];
    this.series = series;
    this.format = format;
    this.box = at(id);
    this.box.setAttribute("role", "img");
    const axis = {
      stroke: () => colour("--muted"),
      grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { stroke: () => colour("--line"), width: 1 },
    };
    const line = (label, n) => ({
      label,
      stroke: () => colour(n === 0 ? "--first" : "--second"),
      dash: n === 0 ? undefined : [6, 3],
      width: 2,
      points: { show: false },
      value: (_, value) => (value == null ? "" : format(value)),
    });
    this.plot = new uPlot({
      ...this.size(),
      series: [{}, ...series.map(line)],
      axes: [axis, { ...axis, size: 70, values: (_, ticks) => ticks.map(format) }],
      scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
      cursor: { y: false },
    }, this.data, this.box);
    new ResizeObserver(() => this.plot.setSize(this.size())).observe(this.box);
  }

  size() {
    return { width: Math.max(this.box.clientWidth, 200), height: 160 };
  }

  add(time, ...values) {
    [time, ...values].forEach((value, n) => {
      this.data[n].push(value);
      if (this.data[n].length > POINTS) this.data[n].shift();
    });
    this.plot.setData(this.data);
    const now = this.series.map((name, n) => `${name} ${this.format(values[n])}`);
    this.box.setAttribute("aria-label", `Chart, now: ${now.join(", ")}`);
  }

  redraw() {
    this.plot.redraw(false);
  }
}
