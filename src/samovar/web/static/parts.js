// What several pages show: phases, figures, slots, small charts, problems, empty states. Descriptions for dom.js.

import { h } from "./dom.js";
import { bytes, count, duration, phaseName, short } from "./format.js";

// links: the one place that knows what the routes look like

const route = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
export const links = {
  pool: (name) => route("pools", name),
  run: (name) => route("runs", name),
  action: (run, id) => route("runs", run, id),
  replica: (name) => route("replicas", name),
};

export const link = (href, text, props = {}) => h("a", { href, ...props }, text);

// heads and states

/** The head of a page: where one is, its name, and what can be done. */
export function head({ crumbs = [], title, badge = null, tools = [], note = "" }) {
  const way = h("nav", { class: "crumbs", "aria-label": "Where you are" }, h("ol", {}, crumbs.map(([href, text]) => h("li", {}, link(href, text)))));
  return h(
    "header",
    { class: "head", key: "head" },
    crumbs.length ? way : null,
    h("div", { class: "head-row" }, h("h1", {}, title), badge, h("div", { class: "tools" }, tools)),
    note ? h("p", { class: "note" }, note) : null,
  );
}

export const button = (text, onclick, props = {}) => h("button", { type: "button", onclick, ...props }, text);

/** What to do where there is nothing yet. */
export function empty(title, ...advice) {
  return h("div", { class: "empty", key: "empty" }, h("p", { class: "empty-title" }, title), advice.map((one) => (typeof one === "string" ? h("p", {}, one) : one)));
}

export const code = (text) => h("pre", { class: "command", tabindex: "0" }, text);

export function problem(error, again) {
  return h(
    "div",
    { class: "problem", role: "alert", key: "problem" },
    h("p", { class: "problem-title" }, error.title ?? "This page has an error"),
    h("p", {}, error.detail ?? String(error.message ?? error)),
    again ? button("Try again", again) : null,
  );
}

// phases and states; each has a sign of its own, so that none is told by colour alone

const SIGNS = { queued: "…", waiting: "…", initializing: "…", starting: "…", running: "▸", succeeded: "✓", failed: "✕", timed_out: "✕", aborted: "⊘", retried: "↻", lost: "↻" };

export function phase(name) {
  return h("span", { class: `phase phase-${name}` }, h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[name] ?? "·"), phaseName(name));
}

const MEANINGS = {
  awake: "It has replicas, or gets them when work comes",
  asleep: "No replica runs; the next action starts one",
  draining: "It finishes what it has and takes nothing new",
  drained: "It takes nothing new",
};

export const state = (name) => h("span", { class: `state state-${name}`, title: MEANINGS[name] ?? "" }, name);

// figures

export function figure(label, value, unit = "", extra = null) {
  return h("div", { class: "figure" }, h("dt", {}, label), h("dd", {}, value, unit ? h("span", { class: "unit" }, ` ${unit}`) : null), extra);
}

export const figures = (...all) => h("dl", { class: "figures" }, all);

export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const UNITS = { idle_ttl: duration, scaledown_ttl: duration, max_age: duration, max_memory: bytes };

/** Settings of a pool as facts: times and sizes in their units, the rest as it is. */
export function settings(all) {
  const text = (name, value) => (typeof value === "number" ? (UNITS[name] ?? (name.endsWith("_ttl") || name.endsWith("_seconds") ? duration : count))(value) : String(value));
  const known = Object.entries(all ?? {}).filter(([, value]) => value !== null && value !== "");
  return facts(known.map(([name, value]) => [name.replaceAll("_", " "), text(name, value)]));
}

// slots

const SLOT_KINDS = ["active", "parked", "free", "starting", "draining"];
const MOST_SQUARES = 24;

/** How many slots of a replica are what. Parked executions hold no slot and come last. */
function slotKinds(replica) {
  const free = Math.max(0, replica.slots - replica.active);
  if (replica.state === "starting") return [["starting", Math.max(1, replica.slots)]];
  return [["active", replica.active], [replica.state === "draining" ? "draining" : "free", free], ["parked", replica.parked]];
}

/** The slots of one replica, a square each, or a bar in proportion where they are many; with what they mean in words. */
export function slots(replica) {
  const kinds = slotKinds(replica).filter(([, n]) => n > 0);
  const parked = replica.parked ? `, ${count(replica.parked)} parked` : "";
  const used = `${count(replica.active)} of ${count(replica.slots)}`;
  const words = replica.state === "starting" ? "starting" : `${used} slots active${parked}${replica.state === "draining" ? ", draining" : ""}`;
  const label = { role: "img", "aria-label": words, title: words };
  if (kinds.reduce((sum, [, n]) => sum + n, 0) <= MOST_SQUARES) {
    return h("span", { class: "slots", ...label }, kinds.map(([kind, n]) => Array.from({ length: n }, () => h("i", { class: `slot slot-${kind}` }))));
  }
  const bar = kinds.map(([kind, n]) => h("i", { class: `slot slot-${kind}`, style: { "flex-grow": String(n) } }));
  return h("span", { class: "slots", ...label }, h("span", { class: "slot-bar" }, bar), h("b", { class: "more" }, `${used}${parked}`));
}

export function slotLegend() {
  return h("p", { class: "slot-legend", "aria-hidden": "true" }, SLOT_KINDS.map((kind) => h("span", {}, h("i", { class: `slot slot-${kind}` }), kind)));
}

// charts

const WIDE = 120;
const HIGH = 28;

/** One line over the last samples, with its newest value and its peak in words. */
export function sparkline(label, values, format = short) {
  const known = (values ?? []).map((value) => value ?? 0);
  const top = Math.max(...known, 1e-9);
  const now = known.at(-1);
  const words = known.length ? `${label}: now ${format(now)}, at most ${format(top < 1e-6 ? 0 : top)} in the last ${duration(known.length)}` : `${label}: nothing measured yet`;
  const step = WIDE / Math.max(known.length - 1, 1);
  const points = known.map((value, at) => `${(at * step).toFixed(1)},${(HIGH - 1.5 - (value / top) * (HIGH - 4)).toFixed(1)}`);
  const line = points.length > 1 ? `M${points.join("L")}` : `M0,${HIGH - 1.5}H${WIDE}`;
  return h(
    "svg",
    { class: "spark", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": words },
    h("title", {}, words),
    h("path", { class: "spark-area", d: `${line}L${WIDE},${HIGH}L0,${HIGH}Z` }),
    h("path", { class: "spark-line", d: line }),
  );
}

/** A row of parts of a whole: `[{name, share, text}]`; who cannot see it has the table beside it. */
export function stack(parts) {
  const shown = parts.filter((part) => part.share > 0);
  return h(
    "div",
    { class: "stack", "aria-hidden": "true" },
    shown.map((part) => h("span", { class: `span span-${part.name}`, style: { "flex-grow": String(part.share) }, title: part.text }, part.share > 0.07 ? h("b", {}, part.name) : null)),
  );
}

/** Cold and warm starts as one bar with words. */
export function warmth(cold, warm) {
  const all = cold + warm;
  const words = all ? `${count(warm)} warm, ${count(cold)} cold` : "no starts yet";
  return h(
    "div",
    { class: "warmth", title: words },
    h("span", { class: "warmth-bar", role: "img", "aria-label": words }, h("i", { style: { width: `${all ? (warm / all) * 100 : 0}%` } })),
    h("span", { class: "small" }, words),
  );
}

// tables

/** `columns`: [title, class]; a table that scrolls inside itself when it must. */
export function table(caption, columns, rows, props = {}) {
  return h(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": caption, ...props },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind ?? null }, title)))),
      h("tbody", {}, rows),
    ),
  );
}

export const cell = (content, kind = null, props = {}) => h("td", { class: kind, ...props }, content);

/** Copies a text, also where the page did not come by a secure way and browsers keep the clipboard from it. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  return undefined;
}
