// The journal's lines, newest first. Of ten thousand only those in sight are in the page.

import { $, arranged, attribute, classed, clock, el, text } from "/static/dom.js";

const CHUNK = 2000;
const MOST = 20000;
const SPARE = 8;
const KINDS = {
  trouble: (line) => line.is === "bad" || line.is === "warn",
  gates: (line) => line.kind === "gate" || line.kind === "step.outcome" || line.kind === "signoff" || line.kind === "baseline",
  traffic: (line) => line.kind.startsWith("traffic.") || line.kind.startsWith("rollback."),
  people: (line) => /^(approval|waiver|skip|notice|run\.(paused|unpaused|aborting)|step\.waived|request)/.test(line.kind),
  stages: (line) => line.kind.startsWith("stage.") || line.kind.startsWith("run."),
};

export class Journal {
  constructor() {
    this.lines = []; // oldest first
    this.shown = []; // those that pass the filter, oldest first
    this.total = 0;
    this.run = "";
    this.rows = [];
    this.waits = false;
    this.log = $("log");
    this.body = $("rows").tBodies[0];
    this.log.addEventListener("scroll", () => this.soon(), { passive: true });
    new ResizeObserver(() => this.soon()).observe(this.log);
    $("filter").addEventListener("input", () => this.sift());
    $("filter").addEventListener("submit", (event) => event.preventDefault());
  }

  forget() {
    this.lines = [];
    this.shown = [];
    $("one").hidden = true;
  }

  add(lines, total, run) {
    const was = this.run;
    this.total = total;
    this.run = run;
    if (lines.length) {
      const last = this.lines.at(-1)?.seq ?? 0;
      const fresh = lines.filter((line) => line.seq > last).map(searchable);
      this.lines.push(...fresh);
      if (this.lines.length > MOST) this.lines = this.lines.slice(-MOST);
      if (was === run || !$("this-run").checked) this.more(fresh.filter(this.passes()));
      else this.sift();
    }
    this.soon();
  }

  /** Lines that came in: whoever reads further down stays where they are. */
  more(fresh) {
    this.shown.push(...fresh);
    if (this.shown.length > MOST) this.shown = this.shown.slice(-MOST);
    if (this.log.scrollTop > 0 && fresh.length) this.keep = (this.keep ?? 0) + fresh.length;
  }

  /** Older lines, a piece at a time, until all are here. */
  async fill() {
    while (this.lines.length && this.lines.length < Math.min(MOST, this.total)) {
      const before = this.lines[0].seq;
      let older;
      try {
        const answer = await fetch(`/lines?before=${before}&most=${CHUNK}`, { credentials: "same-origin" });
        older = answer.ok ? await answer.json() : [];
      } catch {
        return;
      }
      if (!older.length || this.lines[0]?.seq !== before) return;
      older.forEach(searchable);
      this.lines = older.concat(this.lines);
      this.shown = older.filter(this.passes()).concat(this.shown);
      this.soon();
      await new Promise((done) => setTimeout(done, 0));
    }
    performance.mark("board:filled");
  }

  passes() {
    const words = $("find").value.trim().toLowerCase();
    const number = /^#\d+$/.test(words) ? Number(words.slice(1)) : null;
    const kind = KINDS[$("kind").value];
    const run = $("this-run").checked ? this.run : null;
    return (line) => (!kind || kind(line)) && (run === null || line.run === run)
      && (number === null ? !words || line.hay.includes(words) : line.seq === number);
  }

  sift() {
    const begin = performance.now();
    this.shown = this.lines.filter(this.passes());
    this.log.scrollTop = 0;
    this.draw();
    performance.measure("board:filter", { start: begin, end: performance.now() });
  }

  soon() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => { this.waits = false; this.draw(); });
  }

  draw() {
    const height = parseFloat(getComputedStyle(this.log).getPropertyValue("--row")) || 30;
    if (this.keep) {
      this.log.scrollTop += this.keep * height;
      this.keep = 0;
    }
    const many = this.shown.length;
    this.log.hidden = !this.total;
    const head = $("rows").tHead.offsetHeight;
    $("tall").style.height = `${many * height + head}px`;
    const first = Math.max(0, Math.min(Math.floor(this.log.scrollTop / height) - SPARE, many - 1));
    const last = Math.min(many, Math.ceil((this.log.scrollTop + this.log.clientHeight) / height) + SPARE);
    $("rows").style.top = `${first * height}px`;
    attribute($("rows"), "aria-rowcount", many + 1);
    const drawn = [];
    for (let n = first; n < last; n += 1) {
      const row = (this.rows[n - first] ??= this.row());
      this.fillRow(row, this.shown[many - 1 - n], n);
      drawn.push(row.node);
    }
    arranged(this.body, drawn);
    const loaded = this.lines.length < this.total ? `, ${this.lines.length.toLocaleString("en")} read` : "";
    const some = many === this.lines.length ? `${many.toLocaleString("en")} records` : `${many.toLocaleString("en")} of ${this.lines.length.toLocaleString("en")} records`;
    text($("journal-sum"), this.total ? `${some}${loaded}` : "no records");
  }

  row() {
    const button = el("button", "number");
    button.type = "button";
    const number = el("td", "n", button);
    const made = { node: el("tr"), button, at: el("td"), where: el("td"), what: el("td"), line: null };
    made.node.append(number, made.at, made.where, made.what);
    button.addEventListener("click", () => this.one(made.line));
    return made;
  }

  fillRow(row, line, n) {
    attribute(row.node, "aria-rowindex", n + 2);
    if (row.line === line) return;
    row.line = line;
    classed(row.node, line.is);
    text(row.button, line.seq);
    attribute(row.button, "aria-label", `whole record ${line.seq}`);
    text(row.at, clock(line.at));
    text(row.where, line.where);
    text(row.what, line.text ? `${line.text}` : line.kind);
  }

  one(line) {
    const close = el("button", "quiet", "close");
    close.type = "button";
    close.addEventListener("click", () => { $("one").hidden = true; this.log.focus(); });
    $("one").replaceChildren(
      el("p", "dim", `#${line.seq} · ${line.kind} · ${line.at} · run ${line.run}${line.where ? ` · ${line.where}` : ""}`), el("p", "", line.text || "no more to say"), close,
    );
    $("one").hidden = false;
  }
}

function searchable(line) {
  line.hay = `${line.text}\n${line.kind}\n${line.where}\n${line.run}`.toLowerCase();
  return line;
}
