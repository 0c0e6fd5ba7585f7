// Everything but journal, charts and readiness: drawn from sections, touching only what differs.

import { $, arranged, attribute, badge, classed, clock, command, count, el, lasting, measured, ms, percent, rate, share, text, timeOf, tone } from "/static/dom.js";

const SAID = {
  none: ["No run yet", "off"], running: ["Running", "live"], held: ["Held", "warn"], paused: ["Paused", "warn"],
  "rolling back": ["Rolling back", "bad"], succeeded: ["Succeeded", "good"], "rolled-back": ["Rolled back", "bad"],
  failed: ["Failed", "bad"], aborted: ["Aborted", "bad"],
};
const name = (value) => (value ?? "").replace("rollback:", "back: ");

export function notices({ journal }) {
  const said = [];
  const notice = (kind, ...parts) => said.push(el("div", `notice ${kind}`, ...parts));
  if (journal.trouble) notice("bad", el("strong", "", "The journal cannot be read. "), journal.trouble, " What you see below is what was last read.");
  if (journal.wrongs) {
    notice("bad", el("strong", "", "The journal is not what was written. "), `${journal.wrongs} thing${journal.wrongs > 1 ? "s are" : " is"} wrong with its chain; nothing below can be relied on.`,
      el("ul", "", ...journal.wrong.map((line) => el("li", "", line))));
  }
  if (journal.runbook) notice("warn", el("strong", "", "The runbook cannot be read: "), journal.runbook);
  attribute($("notices"), "role", said.length ? "alert" : null);
  arranged($("notices"), said);
}

export function now({ run, stages, latest, traffic, journal }) {
  text($("env"), run.env);
  text($("release"), run.version ? (run.already_live ? `${run.version}, live already` : `${run.version} replaces ${run.before ?? "nothing"}`) : "");
  const [word, kind] = SAID[run.outcome] ?? [run.outcome, "off"];
  arranged($("outcome"), [badge(run.run ? word : journal.there ? "Nothing is known of a run" : "No run yet", kind)]);
  const stage = stages[run.stage];
  const live = latest.live ? latest : null;
  text($("headline"), headline(run, stage));
  arranged($("doing"), doing(run, live));
  const next = run.next;
  text($("next"), next ? `Next: ${name(next.stage)}${next.step ? ` / ${next.step}` : ""}${!next.step && next.at ? `, at ${next.at}` : ""}${next.due ? `, due ${clock(next.due)}` : ""}${!next.step && next.owner ? ` · ${next.owner}` : ""}` : ended(run));
  text($("name-candidate"), run.version ?? "candidate");
  text($("name-incumbent"), run.before ?? "incumbent");
  const known = Object.values(traffic);
  const part = known.length ? known.reduce((sum, row) => sum + row.candidate, 0) / known.length : null;
  const bar = $("share");
  bar.firstElementChild.style.flexBasis = `${part ?? 0}%`;
  bar.lastElementChild.style.flexBasis = `${part === null ? 0 : 100 - part}%`;
  text(bar.firstElementChild, part ? percent(part) : "");
  text(bar.lastElementChild, part === null || part === 100 ? "" : percent(100 - part));
  const told = part === null ? "No traffic was seen yet" : `${percent(part)} of users on ${run.version}, ${percent(100 - part)} on ${run.before ?? "no other"}`;
  attribute(bar, "aria-label", told);
  document.title = `${word}${run.stage && run.outcome === "running" ? `, ${run.stage}` : ""}${part ? `, ${percent(part)}` : ""} · ${run.env}`;
}

function headline(run, stage) {
  if (!run.run) return `Nothing runs in ${run.env}`;
  if (run.outcome === "succeeded") return run.signed_off ? `${run.version} is live for everyone` : `The stages that were asked for are done`;
  if (run.outcome === "rolled-back") return `${run.before ?? "The incumbent"} serves everyone again`;
  if (run.outcome === "aborted") return "The run was ended";
  if (run.outcome === "failed") return "The run failed";
  return stage?.title || name(run.stage) || "The run begins";
}

function doing(run, live) {
  const parts = [];
  if (run.held) parts.push(`${run.held.reason ?? ""} ${run.held.do ?? ""}`.trim());
  else if (run.outcome === "paused") parts.push(`${run.paused.by}: ${run.paused.reason}`);
  else if (run.outcome === "rolled-back" || run.outcome === "rolling back") parts.push(run.trigger ?? "");
  else if (run.aborting) parts.push(`${run.aborting.by}: ${run.aborting.reason}`);
  if (["running", "rolling back"].includes(run.outcome) && run.step) {
    const step = el("span", "step", `${run.step}${run.uses ? ` (${run.uses})` : ""}`);
    parts.push(step);
    if (live && live.left_s !== null) {
      const left = el("span", "left");
      left.dataset.left = String(live.left_s);
      left.dataset.since = String(performance.now());
      text(left, `${lasting(live.left_s)} left`);
      parts.push(left);
    } else if (run.since && run.step_status === "intended") parts.push(el("span", "", "since ", timeOf(run.since)));
  }
  return parts.filter(Boolean).map((part) => (typeof part === "string" ? el("span", "", part) : part));
}

function ended(run) {
  if (run.ended) return `Began ${clock(run.started)}, over ${clock(run.ended)}`;
  return run.run ? "" : `./inv golive --env ${run.env} starts one`;
}

/** Between two looks the time left runs on by this browser's clock. */
export function tick() {
  for (const node of document.querySelectorAll(".left[data-left]")) {
    const left = Math.max(0, Number(node.dataset.left) - (performance.now() - Number(node.dataset.since)) / 1000);
    text(node, `${lasting(left)} left`);
  }
}

export function gateways({ traffic }) {
  const rows = Object.entries(traffic).map(([gateway, row]) => {
    const first = el("th", "", gateway);
    first.scope = "row";
    const shares = Object.entries(row.shares).map(([version, part]) => `${version} ${percent(part)}`).join(", ");
    return el("tr", "", first, el("td", "n", percent(row.candidate)), el("td", "", shares));
  });
  $("gateways").hidden = !rows.length;
  arranged($("gateways").querySelector("tbody"), rows);
}

export function asked({ run, approvals }) {
  const items = approvals.open.map((one) => el("li", "ask",
    el("p", "", el("strong", "", `${one.stage} / ${one.step}`), ` needs ${one.count} of ${one.roles.join(" or ")}${one.expires ? ` until ${clock(one.expires)}` : ""}`),
    ...one.answers.map((answer) => el("p", "dim", `${answer.decision} by ${answer.person} (${answer.role})${answer.comment ? `: ${answer.comment}` : ""}`)),
    el("p", "", "Yes, on your own machine: ", command(one.approve)), el("p", "", "No: ", command(one.reject))));
  items.push(...run.asks.map((ask) => el("li", "ask", el("p", "", el("strong", "", ask.of), `: ${ask.what}`))));
  $("people").hidden = !items.length;
  arranged($("asks"), items);
}

const stageNodes = new Map();
const SIGNS = { done: ["✓", "done"], running: ["●", "running"], waiting: ["◔", "waits"], skipped: ["–", "left out"], ahead: ["", "ahead"], ended: ["✗", "ended here"], left: ["!", "not finished"] };

export function stages({ stages: rows }, changed) {
  const list = Object.entries(rows).sort(([, a], [, b]) => a.n - b.n);
  for (const key of stageNodes.keys()) if (!(key in rows)) stageNodes.delete(key);
  for (const [key, row] of list) {
    if (changed && stageNodes.has(key) && !changed.includes(key)) continue;
    const kept = stageNodes.get(key) ?? stageNode();
    stageNodes.set(key, kept);
    fillStage(kept, row);
  }
  arranged($("stages"), list.map(([key]) => stageNodes.get(key).node));
}

function stageNode() {
  const made = { node: el("li"), sign: el("span", "sign"), title: el("span", "stage-name"), state: el("span", "unseen"), meta: el("span", "meta"), steps: el("ol", "steps"), opened: null };
  made.sign.setAttribute("aria-hidden", "true");
  made.details = el("details", "", el("summary", "", made.sign, el("span", "stage-head", made.title, made.state, made.meta)), made.steps);
  // What a person opened or closed stays so; until then the stage that runs is open.
  made.details.firstChild.addEventListener("click", () => { made.opened = true; });
  made.node.append(made.details);
  return made;
}

function fillStage(kept, row) {
  const [sign, word] = SIGNS[row.status] ?? ["", row.status];
  classed(kept.node, `stage ${row.status}${row.here ? " here" : ""}${row.back ? " way-back" : ""}`);
  attribute(kept.node, "aria-current", row.here ? "step" : null);
  text(kept.sign, sign);
  text(kept.title, name(row.name));
  text(kept.state, `, ${word}`);
  const when = row.status === "waiting" && row.due ? `due ${clock(row.due)}` : row.ended && row.began ? clock(row.began) : row.at;
  text(kept.meta, [row.owner, when].filter(Boolean).join(" · "));
  if (kept.opened === null) kept.details.open = row.here || row.status === "ended" || (row.back && row.status === "running");
  arranged(kept.steps, row.steps.map((step) => {
    const kind = step.verdict ? tone(step.verdict) : step.status === "intended" ? "live" : "off";
    const said = step.verdict ?? { intended: "running", ahead: "ahead", interrupted: "interrupted" }[step.status] ?? step.status;
    const tail = [step.attempt > 1 ? `try ${step.attempt}` : "", step.seconds !== null ? lasting(step.seconds) : "", step.until ? `tried again until ${clock(step.until)}` : ""].filter(Boolean).join(" · ");
    const node = el("li", `step-row ${step.status}`, badge(said, kind), el("span", "step-id", step.id), el("span", "meta", tail));
    if (step.summary && step.verdict && step.verdict !== "PASS") node.append(el("p", "why", step.summary));
    else if (step.summary) node.append(el("p", "unseen", step.summary));
    return node;
  }));
}

export function figures({ latest, watches, run }) {
  const told = latest.gate
    ? latest.live ? `${latest.gate}, live: seen ${clock(latest.at)}` : `${latest.gate} decided ${latest.verdict || "nothing"} at ${clock(latest.at)}; between watches nothing is measured here`
    : run.run ? "No watch has begun; numbers come with the first" : "";
  text($("measured"), told);
  classed($("measured"), latest.live ? "livewords" : "dim");
  const who = ["candidate", "incumbent", "baseline", "nobody"].filter((one) => latest.figures?.[one]?.requests);
  $("figures").hidden = !who.length;
  arranged($("figures").querySelector("tbody"), who.map((one) => {
    const row = latest.figures[one];
    const first = el("th", "", one);
    first.scope = "row";
    return el("tr", "", first, ...[count(row.requests), count(row.errors), share(row.error_rate), ms(row.p50_s), ms(row.p99_s), rate(row.per_s)].map((cell) => el("td", "n", cell)));
  }));
  const decided = Object.values(watches).filter((watch) => watch.lines.length).at(-1);
  $("gate").hidden = !decided;
  if (!decided) return;
  text($("gate").querySelector("caption"), `${decided.gate}: ${decided.summary}`);
  arranged($("gate").querySelector("tbody"), decided.lines.map((line) => {
    const first = el("th", "", line.metric);
    first.scope = "row";
    const verdict = line.decides ? badge(line.verdict, tone(line.verdict)) : el("span", "dim", "printed only");
    return el("tr", "", first, el("td", "", verdict), el("td", "n", measured(line.estimate, line.unit)), el("td", "n", measured(line.bound, line.unit)), el("td", "", line.stated ?? ""), el("td", "n", count(line.n)));
  }));
}

const hostNodes = new Map();
const STATE = { up: ["up", "good"], busy: ["being changed", "live"], trouble: ["trouble", "bad"], aside: ["set aside", "warn"], known: ["nothing seen", "off"] };

export function hosts({ hosts: rows, run }, changed) {
  const keys = Object.keys(rows).sort((a, b) => rows[a].site.localeCompare(rows[b].site) || a.localeCompare(b, "en", { numeric: true }));
  for (const key of hostNodes.keys()) if (!(key in rows)) hostNodes.delete(key);
  for (const key of keys) {
    if (changed && hostNodes.has(key) && !changed.includes(key)) continue;
    const kept = hostNodes.get(key) ?? hostNode(key);
    hostNodes.set(key, kept);
    fillHost(kept, rows[key], run);
  }
  arranged($("hosts").querySelector("tbody"), keys.map((key) => hostNodes.get(key).row));
  arranged($("map"), keys.filter((key) => !rows[key].roles.includes("ops")).map((key) => hostNodes.get(key).tile));
  const all = Object.values(rows).filter((row) => !row.roles.includes("ops"));
  const on = (release) => (release ? all.filter((row) => row.running.some((one) => one.release === release)).length : 0);
  const bad = all.filter((row) => row.state === "trouble" || row.state === "aside").length;
  const said = all.length ? `${all.length} hosts; ${run.version ?? "candidate"} on ${on(run.release)}${run.before && run.before !== run.version ? `, ${run.before} on ${on(run.incumbent)}` : ""}${bad ? `; trouble on ${bad}` : ""}` : "No hosts are recorded";
  text($("hosts-sum"), said);
  attribute($("map"), "aria-label", `${said}, as the journal last saw them; the table below names each`);
}

function hostNode(key) {
  const first = el("th", "", key);
  first.scope = "row";
  const made = { row: el("tr"), site: el("td"), runs: el("td"), state: el("td"), tile: el("span", "tile", el("i"), el("i")) };
  made.row.append(first, made.site, made.runs, made.state);
  return made;
}

function fillHost(kept, row, run) {
  text(kept.site, [row.site, ...row.roles.filter((role) => role !== "agent")].filter(Boolean).join(" · "));
  const runs = row.running.map((one) => `${one.release}${one.release === run.release}`).join() + row.load;
  if (kept.ran !== runs) {
    kept.ran = runs;
    const names = row.running.map((one) => el("span", `who ${one.release === run.release ? "candidate" : "incumbent"}`, one.version ?? one.release));
    if (row.load) names.push(el("span", "dim", `load client ${row.load}`));
    arranged(kept.runs, names);
  }
  const stands = `${row.state} ${row.why}`;
  if (kept.stood !== stands) {
    kept.stood = stands;
    const [word, kind] = STATE[row.state] ?? [row.state, "off"];
    arranged(kept.state, [badge(word, kind), row.why ? el("span", "dim", ` ${row.why}`) : null].filter(Boolean));
  }
  classed(kept.tile, `tile ${row.state}`);
  const has = (wanted) => row.running.some((one) => one.release === wanted);
  const other = row.running.some((one) => one.release !== run.release);
  classed(kept.tile.firstChild, other ? "incumbent" : has(run.release) ? "candidate" : "");
  classed(kept.tile.lastChild, has(run.release) ? "candidate" : other ? "incumbent" : "");
}

const BACK = { none: ["nothing runs", "off"], over: ["done", "off"], "under way": ["under way", "bad"], gone: ["no way back any more", "warn"], open: ["open", "good"], "nothing to take back": ["nothing to take back yet", "off"] };

export function back({ rollback }) {
  const [word, kind] = BACK[rollback.state] ?? [rollback.state, "off"];
  const over = rollback.state === "over" && rollback.started;
  const parts = [el("p", "", badge(over ? (rollback.left.length ? "done, with something left" : "everything is back") : rollback.state === "over" ? "the run is over" : word, over ? (rollback.left.length ? "warn" : "good") : kind))];
  const line = (label, value) => parts.push(el("p", "pairline", el("span", "dim", label), " ", value));
  if (rollback.reason) line("Why", rollback.reason);
  if (rollback.started) line("Began", timeOf(rollback.started));
  if (rollback.seconds_to_traffic_back !== null && rollback.seconds_to_traffic_back !== undefined) line("All users back after", lasting(rollback.seconds_to_traffic_back));
  else if (rollback.state === "under way") line("Users", "still on their way back");
  if (rollback.stages.length) {
    parts.push(el("ol", "chips", ...rollback.stages.map((stage) => el("li", `chip-${stage.status}`, badge(stage.name, { done: "good", running: "live" }[stage.status] ?? "off")))));
  }
  for (const over_ of rollback.overruns) line("Over budget", `${name(over_.stage)}, ${lasting(over_.seconds)}`);
  for (const left of rollback.left) line("Left", String(left));
  for (const acted of rollback.guard) line("Guard", `${acted.gateway ?? ""} ${acted.reason ?? "acted"}`);
  if (rollback.predicted) {
    const told = rollback.predicted;
    const body = told.boxes.map((box) => {
      const first = el("th", "", box.box);
      first.scope = "row";
      return el("tr", "", first, el("td", "n", lasting(box.measured_s)), el("td", "n", lasting(box.predicted_s)), el("td", "n", lasting(box.budget_s)));
    });
    const head = el("tr", "", ...["Part", "Drill", "Predicted", "Budget"].map((cell, n) => { const made = el("th", n ? "n" : "", cell); made.scope = "col"; return made; }));
    parts.push(el("table", "small", el("caption", "", `Shown in a drill: ${lasting(told.total_s)} of ${lasting(told.limit_s)} allowed`), el("thead", "", head), el("tbody", "", ...body)));
  } else if (rollback.state !== "none") parts.push(el("p", "dim", "No drill has shown yet how long it takes."));
  if (rollback.command) parts.push(el("p", "", rollback.possible ? "To go back: " : "To end it here: ", command(rollback.command)));
  arranged($("back-body"), parts);
}

export function approvals({ approvals: told }) {
  const parts = [el("p", "", told.open.length ? badge(`${told.open.length} open`, "warn") : badge("none is asked for now", "off"))];
  parts.push(...told.open.map((one) => el("p", "", el("strong", "", `${one.stage} / ${one.step}`), `: ${one.roles.join(" or ")}, `, command(one.approve))));
  const rows = [...told.over].reverse().map((one) => {
    const first = el("th", "", `${one.stage} / ${one.step}`, el("span", "meta under", (one.roles ?? []).join(" or ")));
    first.scope = "row";
    const who = one.answers.map((answer) => `${answer.decision} by ${answer.person} (${answer.role})`).join("; ") || (one.ended === "auto" ? "policy asks nobody" : "nobody answered");
    return el("tr", "", first, el("td", "", one.ended === "auto" ? badge("auto", "off") : badge(one.ended, tone(one.ended)), el("span", "meta under", who)));
  });
  for (const waiver of told.waivers) parts.push(el("p", "", badge("WAIVED", "warn"), ` ${waiver.stage} / ${waiver.step} by ${waiver.person} (${waiver.role}) until ${clock(waiver.expires)}: ${waiver.reason ?? ""}`));
  if (rows.length) {
    const head = el("tr", "", ...["Asked at, of", "Ended, by"].map((cell) => { const made = el("th", "", cell); made.scope = "col"; return made; }));
    const region = el("div", "scroll low", el("table", "small", el("caption", "unseen", "Approvals that are over, newest first"), el("thead", "", head), el("tbody", "", ...rows)));
    region.tabIndex = 0;
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", "Approvals that are over");
    parts.push(region);
  }
  arranged($("approvals-body"), parts);
}

let said = null;
/** What whoever listens has to hear: a stage, an outcome, somebody who is asked. Not every number. */
export function spoken({ run, approvals, latest }) {
  const told = { stage: run.stage, outcome: run.outcome, asked: approvals.open.map((one) => one.step).join(), verdict: latest.live ? "" : `${latest.gate} ${latest.verdict}` };
  if (said !== null) {
    const words = [];
    if (told.outcome !== said.outcome) words.push(SAID[told.outcome]?.[0] ?? told.outcome);
    if (told.stage !== said.stage && told.stage) words.push(`Stage ${name(told.stage)}`);
    if (told.verdict && told.verdict !== said.verdict && latest.verdict) words.push(`Gate ${latest.gate}: ${latest.verdict}`);
    if (told.asked && told.asked !== said.asked) words.push(`Approval asked for: ${told.asked}`);
    if (words.length) text($("spoken"), words.join(". "));
  }
  said = told.verdict ? told : { ...told, verdict: said?.verdict ?? "" };
}
