// What the last readiness run said: a wheel of its items, and the table behind it.

import { $, arranged, badge, clock, el, text, tone } from "/static/dom.js";

const STATES = ["PASS", "WAIVED", "STALE", "UNKNOWN", "FAIL"];
const NS = "http://www.w3.org/2000/svg";
const SHAPE = { GO: "good", CONDITIONAL: "warn", "NO-GO": "bad" };
let open = false;

function svg(name, attributes) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

function arc(from, to, radius) {
  const [a, b] = [from, to].map((part) => [60 + radius * Math.sin(2 * Math.PI * part), 60 - radius * Math.cos(2 * Math.PI * part)]);
  return `M${a[0].toFixed(3)} ${a[1].toFixed(3)}A${radius} ${radius} 0 ${to - from > 0.5 ? 1 : 0} 1 ${b[0].toFixed(3)} ${b[1].toFixed(3)}`;
}

function wheel(summary, told) {
  const sections = Object.entries(summary.counts);
  const total = sections.reduce((sum, [, counts]) => sum + STATES.reduce((all, state) => all + counts[state], 0), 0) || 1;
  const drawn = svg("svg", { viewBox: "0 0 120 120", role: "img", "aria-label": told, class: "wheel" });
  const gap = sections.length > 1 ? 0.006 : 0;
  let at = 0;
  for (const [, counts] of sections) {
    for (const state of STATES) {
      if (!counts[state]) continue;
      const part = (counts[state] / total) * (1 - gap * sections.length);
      drawn.append(svg("path", { d: arc(at, Math.min(at + part, at + 0.9999), 50), class: `slice ${state.toLowerCase()}` }));
      at += part;
    }
    at += gap;
  }
  const word = svg("text", { x: 60, y: 58, class: "decision" });
  word.textContent = summary.decision;
  const many = svg("text", { x: 60, y: 75, class: "many" });
  const passed = sections.reduce((sum, [, counts]) => sum + counts.PASS, 0);
  many.textContent = `${passed} of ${total} pass`;
  drawn.append(word, many);
  return drawn;
}

export function readiness({ readiness: summary, items }) {
  const body = $("readiness-body");
  if (!summary.there) {
    arranged(body, [el("div", "empty wheel-empty", el("p", "", badge(summary.why, "unknown")), el("p", "dim", "./inv readiness computes it from the evidence."))]);
    return;
  }
  const counts = Object.values(summary.counts);
  const sum = Object.fromEntries(STATES.map((state) => [state, counts.reduce((all, told) => all + told[state], 0)]));
  const told = `${summary.decision}: ${STATES.map((state) => `${sum[state]} ${state}`).join(", ")}`;
  const key = el("ul", "key", ...STATES.map((state) => el("li", "", el("span", `dot ${state.toLowerCase()}`), ` ${sum[state]} ${state}`)));
  const head = el("tr", "", ...["Section", ...STATES].map((name, n) => { const cell = el("th", n ? "n" : "", name); cell.scope = "col"; return cell; }));
  const rows = Object.entries(summary.counts).map(([name, told_]) => {
    const first = el("th", "", name);
    first.scope = "row";
    return el("tr", "", first, ...STATES.map((state) => el("td", "n", String(told_[state]))));
  });
  const sections = el("table", "", el("caption", "unseen", "Items by section and state"), el("thead", "", head), el("tbody", "", ...rows));
  const lacking = Object.entries(items).filter(([, item]) => item.state !== "PASS")
    .sort(([, a], [, b]) => STATES.indexOf(b.state) - STATES.indexOf(a.state) || a.n - b.n);
  const list = el("table", "items", el("caption", "", `${lacking.length} items that are not PASS`),
    el("tbody", "", ...lacking.map(([id, item]) => {
      const first = el("th", "", id);
      first.scope = "row";
      return el("tr", "", first, el("td", "", badge(item.state, tone(item.state))), el("td", "", item.reason));
    })));
  const region = el("div", "scroll low", list);
  region.tabIndex = 0;
  region.setAttribute("role", "region");
  region.setAttribute("aria-label", "Items that are not PASS");
  const more = el("details", "", el("summary", "", "Section by section, and what is missing"), sections, region);
  more.open = open;
  more.addEventListener("toggle", () => { open = more.open; });
  arranged(body, [
    el("div", "ready", wheel(summary, told), el("div", "", el("p", "", badge(summary.decision, SHAPE[summary.decision] ?? "unknown")), key)),
    text(el("p", "dim"), `Computed ${clock(summary.at)}${summary.release ? ` for ${summary.release}` : ""}`),
    more,
  ]);
}
