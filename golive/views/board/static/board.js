// The page: takes the picture once, then what changes in it, and draws only what changed.

import { $, text } from "/static/dom.js";
import { Journal } from "/static/journal.js";
import * as panels from "/static/panels.js";
import { readiness } from "/static/readiness.js";

const KEYED = new Set(["stages", "hosts", "traffic", "watches", "items"]);
const sections = {};
const journal = new Journal();
let charts = null;
let lastId = "";
let heard = performance.now();

/** Takes `changes` of sections in; says which rows of keyed sections are other ones now (null: all). */
function taken(changes) {
  const touched = new Map();
  for (const [name, change] of Object.entries(changes)) {
    if ("all" in change) {
      sections[name] = change.all;
      touched.set(name, null);
    } else if ("add" in change) {
      sections[name].push(...change.add);
      touched.set(name, null);
    } else {
      for (const key of change.gone) delete sections[name][key];
      Object.assign(sections[name], change.set);
      touched.set(name, change.gone.length ? null : Object.keys(change.set));
    }
  }
  return touched;
}

const DRAWN = [
  [["journal"], () => panels.notices(sections)],
  [["run", "stages", "latest", "watches", "traffic"], () => panels.now(sections)],
  [["traffic"], () => panels.gateways(sections)],
  [["run", "approvals"], () => panels.asked(sections)],
  [["stages"], (rows) => panels.stages(sections, rows.get("stages"))],
  [["latest", "watches", "run"], () => panels.figures(sections)],
  [["latest", "watches", "points"], () => charts?.draw(sections)],
  [["hosts"], (rows) => panels.hosts(sections, rows.get("hosts"))],
  [["rollback"], () => panels.back(sections)],
  [["approvals"], () => panels.approvals(sections)],
  [["readiness", "items"], () => readiness(sections)],
];

function draw(touched) {
  for (const [names, drawn] of DRAWN) if (names.some((name) => touched.has(name))) drawn(touched);
  panels.spoken(sections);
}

/** Measured from the moment a change is here to the frame that shows it. */
function timed(name, begin) {
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => performance.measure(name, { start: begin, end: performance.now() });
    channel.port2.postMessage(null);
  });
}

function changed(change) {
  const begin = performance.now();
  lastId = change.id;
  if (change.anew) journal.forget();
  const touched = taken(change.sections);
  journal.add(change.lines, sections.journal?.total ?? 0, sections.run?.run);
  draw(touched);
  timed("board:update", begin);
}

function line(word, kind) {
  const node = $("line");
  text(node, word);
  node.dataset.is = kind;
}

function listen() {
  const source = new EventSource(`/events?after=${encodeURIComponent(lastId)}`);
  source.addEventListener("open", () => { heard = performance.now(); line("live", "good"); });
  source.addEventListener("change", (event) => { heard = performance.now(); changed(JSON.parse(event.data)); });
  source.addEventListener("beat", () => { heard = performance.now(); });
  source.addEventListener("error", () => {
    line("no connection to the board; what you see is old", "bad");
    // A refusal ends an EventSource for good: it is asked anew, and the page keeps what it has.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  });
}

setInterval(() => {
  if (performance.now() - heard > 30000) line("the board says nothing; what you see is old", "bad");
  panels.tick(sections);
}, 1000);

async function begin() {
  const start = performance.now();
  let whole;
  try {
    const answer = await fetch("/picture", { credentials: "same-origin" });
    if (!answer.ok) throw new Error(`the board answers ${answer.status}`);
    whole = await answer.json();
  } catch (error) {
    line(`${error.message}; trying again`, "bad");
    setTimeout(begin, 2000);
    return;
  }
  lastId = whole.id;
  const touched = taken(Object.fromEntries(Object.entries(whole.sections).map(([name, value]) => [name, { all: value }])));
  journal.add(whole.lines, whole.total, sections.run?.run);
  draw(touched);
  timed("board:picture", start);
  performance.mark("board:drawn");
  listen();
  // The chart library comes after the first picture: nobody waits for it to read where the run stands.
  const { Charts } = await import("/static/charts.js");
  charts = new Charts($("charts"), $("readout"));
  charts.draw(sections);
  performance.mark("board:charts");
  await journal.fill();
}

const THEMES = ["system", "light", "dark"];
function themed(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  text($("theme"), `Theme: ${name}`);
  charts?.recolour(sections);
}
$("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "system";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  try {
    if (next === "system") localStorage.removeItem("theme");
    else localStorage.setItem("theme", next);
  } catch {
    // Kept for this page alone.
  }
  themed(next);
});
themed(document.documentElement.dataset.theme ?? "system");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts?.recolour(sections));
begin();
