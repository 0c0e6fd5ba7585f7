// Small pieces that everything is drawn with. Text of the journal goes into pages as text, never as markup.

/** An element with a class and children; strings become text. */
export function el(name, cls = "", ...children) {
  const made = document.createElement(name);
  if (cls) made.className = cls;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const $ = (id) => document.getElementById(id);

/** Sets text only where it differs: screen readers and layout are left alone otherwise. */
export function text(node, value) {
  const said = value === null || value === undefined ? "" : String(value);
  if (node.textContent !== said) node.textContent = said;
  return node;
}

export function attribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

export function classed(node, cls) {
  if (node.className !== cls) node.className = cls;
}

/** The children of `parent` are `nodes`, in this order; those that stay are not moved. */
export function arranged(parent, nodes) {
  let here = parent.firstChild;
  for (const node of nodes) {
    if (node === here) here = here.nextSibling;
    else parent.insertBefore(node, here);
  }
  while (here) {
    const after = here.nextSibling;
    here.remove();
    here = after;
  }
}

const hms = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dhms = new Intl.DateTimeFormat(undefined, {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

/** A time of the journal as this browser's clock would show it; with the day when that is not today. */
export function clock(at) {
  const time = typeof at === "number" ? new Date(at * 1000) : new Date(at);
  if (!at || Number.isNaN(time.getTime())) return String(at ?? "");
  return (time.toDateString() === new Date().toDateString() ? hms : dhms).format(time);
}

export function timeOf(at) {
  const node = el("time", "", clock(at));
  const time = new Date(typeof at === "number" ? at * 1000 : at);
  if (!Number.isNaN(time.getTime())) node.dateTime = time.toISOString();
  return node;
}

export function lasting(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "";
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${String(Math.round(seconds % 60)).padStart(2, "0")} s`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

const digits = (value) => String(Number(value.toPrecision(3)));
const known = (value) => typeof value === "number" && Number.isFinite(value);
export const share = (value) => (known(value) ? `${digits(value * 100)} %` : "–");
export const ms = (value) => (known(value) ? `${digits(value * 1000)} ms` : "–");
export const rate = (value) => (known(value) ? `${digits(value)} /s` : "–");
export const count = (value) => (known(value) ? value.toLocaleString("en") : "–");
export const percent = (value) => (known(value) ? `${Math.round(value * 10) / 10} %` : "–");

/** A number of a gate's line, in its own unit. */
export function measured(value, unit) {
  if (!known(value)) return "–";
  if (unit === "share") return share(value);
  if (unit === "ratio") return `${value >= 1 ? "+" : ""}${digits((value - 1) * 100)} %`;
  if (unit === "bytes") return `${digits(value / 1e6)} MB`;
  return digits(value);
}

const GLYPH = { good: "✓", bad: "✗", warn: "!", live: "●", off: "○", unknown: "?" };
const TONE = {
  PASS: "good", FAIL: "bad", INCONCLUSIVE: "warn", ERROR: "warn", WAIVED: "warn", STALE: "warn", UNKNOWN: "unknown", ENDED: "off",
};
export const tone = (verdict) => TONE[verdict] ?? "off";

/** A word with its sign: never a colour alone. */
export function badge(word, kind) {
  const sign = el("span", "sign", GLYPH[kind] ?? "");
  sign.setAttribute("aria-hidden", "true");
  return el("span", `badge ${kind}`, sign, String(word));
}

/** A command to be typed on one's own machine, and a button that copies it. */
export function command(words) {
  const button = el("button", "quiet copy", "copy");
  button.type = "button";
  button.setAttribute("aria-label", `copy ${words}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(words);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(button.previousSibling);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  return el("span", "command", el("code", "", words), button);
}
