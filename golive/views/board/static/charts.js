// Error rate, latency and throughput of both releases, one watch after the other, with what the gate allows in each.

import uPlot from "/static/uplot/uPlot.esm.js";
import { attribute, clock, el, ms, rate, share, text, tone } from "/static/dom.js";

const MOST = 10;
const SHOWN = [
  { key: 0, title: "Error rate", limit: "error_rate", say: share, scale: 100, unit: "%", log: false },
  { key: 1, title: "Latency, p99", limit: "latency_p99", say: ms, scale: 1000, unit: "ms", log: true },
  { key: 2, title: "Requests per second", limit: null, say: rate, scale: 1, unit: "/s", log: true },
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Charts {
  constructor(place, readout) {
    this.readout = readout;
    this.sections = null;
    const sheet = el("link");
    sheet.rel = "stylesheet";
    sheet.href = "/static/uplot/uPlot.min.css";
    document.head.append(sheet);
    this.all = SHOWN.map((shown) => this.made(shown));
    place.replaceChildren(...this.all.map((chart) => chart.node));
    new ResizeObserver(() => this.sized()).observe(place);
  }

  made(shown) {
    const chart = { shown, plot: null, canvas: el("div", "canvas"), candidate: el("span", "big candidate", "–"), incumbent: el("span", "mid incumbent", "–"), limit: el("span", "dim limit") };
    chart.canvas.setAttribute("role", "img");
    chart.node = el("figure", "chart", el("figcaption", "", el("span", "chart-title", shown.title), el("span", "numbers", chart.candidate, chart.incumbent), chart.limit), chart.canvas);
    return chart;
  }

  sized() {
    for (const chart of this.all) {
      const width = Math.floor(chart.canvas.clientWidth);
      if (chart.plot && width > 0 && width !== chart.plot.width) chart.plot.setSize({ width, height: this.height() });
    }
  }

  height() {
    return innerWidth < 700 ? 150 : 190;
  }

  recolour(sections) {
    for (const chart of this.all) {
      chart.plot?.destroy();
      chart.plot = null;
    }
    this.draw(sections);
  }

  draw(sections) {
    this.sections = sections;
    const watches = Object.values(sections.watches).sort((a, b) => a.n - b.n);
    this.watches = watches;
    for (const chart of this.all) this.drawOne(chart, sections, watches);
  }

  drawOne(chart, sections, watches) {
    const { shown } = chart;
    const figures = sections.latest.figures ?? {};
    const names = ["error_rate", "p99_s", "per_s"];
    for (const who of ["candidate", "incumbent"]) text(chart[who], shown.say(figures[who]?.[names[shown.key]] ?? null));
    const now = watches.at(-1);
    const limit = now?.limits[shown.limit];
    text(chart.limit, limit ? `asked ${limit.text}` : shown.limit ? "" : now?.limits.degradation ? "served of what was offered" : "");
    const data = this.data(sections.points, shown);
    const said = `${shown.title}: candidate ${chart.candidate.textContent}, incumbent ${chart.incumbent.textContent}${limit ? `, asked ${limit.text}` : ""}. The table below has the numbers.`;
    attribute(chart.canvas, "aria-label", said);
    const width = Math.floor(chart.canvas.clientWidth);
    if (!chart.plot) {
      if (width <= 0) return;
      chart.plot = new uPlot(this.options(chart, width), data, chart.canvas);
    } else chart.plot.setData(data);
  }

  /** x, candidate, incumbent; a gap between two watches. */
  data(points, shown) {
    const [x, candidate, incumbent] = [[], [], []];
    let watch = -1;
    for (const point of points) {
      const mine = Math.ceil(point.x - 1e-9) - 1;
      if (mine !== watch && watch >= 0) {
        x.push(Math.max(mine, x.at(-1)) + 1e-6);
        candidate.push(null);
        incumbent.push(null);
      }
      watch = mine;
      const drawn = (value) => (value === null || value === undefined ? null : shown.log ? Math.max(value * shown.scale, 0.01) : value * shown.scale);
      x.push(point.x);
      candidate.push(drawn(point.c[shown.key]));
      incumbent.push(drawn(point.i[shown.key]));
    }
    return [x, candidate, incumbent];
  }

  range() {
    const many = Math.max(1, this.watches?.length ?? 1);
    return [Math.max(0, many - MOST), many];
  }

  limitOf(watch, shown) {
    const limit = shown.limit ? watch.limits[shown.limit] : null;
    return limit ? limit.value * shown.scale : null;
  }

  yRange(chart, low, high) {
    const { shown } = chart;
    const limits = (this.watches ?? []).map((watch) => this.limitOf(watch, shown)).filter((value) => value !== null);
    const top = Math.max(high ?? 0, ...limits, shown.log ? 1 : 0.1);
    if (!shown.log) return [0, top * 1.25];
    const bottom = Math.max(0.1, Math.min(low ?? 1, ...limits, 10 * (low ?? 1)));
    return [10 ** Math.floor(Math.log10(bottom)), 10 ** Math.ceil(Math.log10(top * 1.05))];
  }

  options(chart, width) {
    const ink = colour("--dim");
    const grid = { stroke: colour("--line"), width: 1 };
    const font = "11px system-ui, sans-serif";
    const line = (label, name, dash) => ({ label, stroke: colour(name), width: 2, dash, points: { show: (plot, n) => plot.data[n].filter((value) => value !== null).length < 14, size: 7, width: 0, fill: colour(name), stroke: colour(name) }, spanGaps: false });
    return {
      width,
      height: this.height(),
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
      scales: {
        x: { time: false, range: () => this.range() },
        y: { distr: chart.shown.log ? 3 : 1, range: (_, low, high) => this.yRange(chart, low, high) },
      },
      series: [{}, line("candidate", "--candidate"), line("incumbent", "--incumbent", [6, 3])],
      axes: [
        { stroke: ink, font, grid: { show: false }, ticks: { show: false }, size: 26, splits: () => this.splits(), values: (_, at) => at.map((value) => this.label(value, width)) },
        { stroke: ink, font, grid, ticks: { show: false }, size: 44, filter: (_, at) => (chart.shown.log ? at.map((value) => (Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6) ? value : null)) : at), values: (_, at) => at.map((value) => (value === null ? "" : `${Number(value.toPrecision(3))}`)) },
      ],
      hooks: {
        drawClear: [(plot) => this.band(plot, chart.shown)],
        draw: [(plot) => this.limits(plot, chart.shown)],
        setCursor: [(plot) => this.read(plot)],
      },
    };
  }

  splits() {
    const [from, to] = this.range();
    return Array.from({ length: to - from }, (_, n) => from + n + 0.5);
  }

  /** Names of watches, from the last one backwards, as many as there is room for. */
  label(value, width) {
    const n = Math.floor(value);
    const watch = this.watches?.[n];
    const [from, to] = this.range();
    const every = Math.ceil(72 / ((width - 60) / (to - from)));
    return watch && (to - 1 - n) % every === 0 ? (watch.gate.length > 12 ? `${watch.gate.slice(0, 11)}…` : watch.gate) : "";
  }

  each(plot, shown, drawn) {
    const [from] = this.range();
    for (const watch of (this.watches ?? []).slice(from)) {
      const left = plot.valToPos(watch.n, "x", true);
      const right = plot.valToPos(watch.n + 1, "x", true);
      const limit = this.limitOf(watch, shown);
      drawn(watch, left, right, limit === null ? null : plot.valToPos(limit, "y", true));
    }
  }

  /** What the gate allows lies on a quiet ground; above it is what it refuses. */
  band(plot, shown) {
    const { ctx, bbox } = plot;
    ctx.save();
    this.each(plot, shown, (watch, left, right, y) => {
      if (y === null) return;
      ctx.fillStyle = colour("--band");
      ctx.fillRect(left, Math.max(y, bbox.top), right - left, bbox.top + bbox.height - Math.max(y, bbox.top));
    });
    ctx.restore();
  }

  limits(plot, shown) {
    const { ctx, bbox } = plot;
    const dpr = devicePixelRatio || 1;
    ctx.save();
    ctx.lineWidth = dpr;
    this.each(plot, shown, (watch, left, right, y) => {
      ctx.strokeStyle = colour("--line");
      ctx.beginPath();
      ctx.moveTo(right, bbox.top);
      ctx.lineTo(right, bbox.top + bbox.height);
      ctx.stroke();
      if (y !== null) {
        ctx.strokeStyle = colour("--bad");
        ctx.setLineDash([4 * dpr, 3 * dpr]);
        ctx.beginPath();
        ctx.moveTo(left, y);
        ctx.lineTo(right, y);
        ctx.stroke();
        ctx.setLineDash([]);
      }
      if (watch.verdict) {
        ctx.fillStyle = colour(`--${{ good: "good", bad: "bad", warn: "warn" }[tone(watch.verdict)] ?? "dim"}`);
        ctx.font = `${11 * dpr}px system-ui, sans-serif`;
        ctx.textAlign = "right";
        ctx.textBaseline = "top";
        ctx.fillText({ PASS: "✓", FAIL: "✗", ENDED: "–" }[watch.verdict] ?? "!", right - 3 * dpr, bbox.top + 2 * dpr);
      }
    });
    ctx.restore();
  }

  read(plot) {
    const at = plot.cursor.idx;
    const point = at === null || at === undefined ? null : this.sections?.points.find((one) => one.x >= plot.data[0][at]);
    if (!point || plot.cursor.left < 0) {
      text(this.readout, "");
      return;
    }
    const watch = this.watches[Math.max(0, Math.ceil(point.x - 1e-9) - 1)];
    const say = (who) => `${share(point[who][0])} errors, p50 ${ms(point[who][3])}, p99 ${ms(point[who][1])}, ${rate(point[who][2])}`;
    text(this.readout, `${watch?.gate ?? ""} ${clock(point.at)}: candidate ${say("c")}; incumbent ${say("i")}`);
  }
}
