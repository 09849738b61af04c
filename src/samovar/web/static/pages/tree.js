// The tree of a run's actions. A level is asked for when it is unfolded, a hundred at a time, and asked for again only
// while something in it can still change: a run may have a million actions.

import { get } from "../api.js";
import { h } from "../dom.js";
import { count, duration, isSettled } from "../format.js";
import { button, empty, link, links, phase } from "../parts.js";

const PAGE = 100;
const REFRESHED = 12; // levels asked for again in one refresh

class Level {
  constructor() {
    this.items = [];
    this.next = "";
    this.pages = 0;
    this.isFinal = false; // asked for after its parent had ended, and all in it had: nothing changes any more
  }
}

export class Tree {
  constructor(app, run) {
    this.app = app;
    this.name = run;
    this.root = null;
    this.levels = new Map(); // children, by the id of their parent
    this.folded = new Set();
    this.problem = null;
  }

  async load(run) {
    this.root = run.root ?? null;
    if (this.root && !this.levels.size) await this.more(this.root.id);
    else await this.refresh(run);
  }

  /** Asks again for levels that are open and can still change. */
  async refresh(run) {
    this.root = run.root ?? this.root;
    if (this.root && !this.levels.size) await this.more(this.root.id);
    const open = [...this.levels].filter(([parent, level]) => !level.isFinal && !this.folded.has(parent));
    for (const [parent, level] of open.slice(0, REFRESHED)) await this.again(parent, level);
  }

  level(parent) {
    return this.levels.get(parent) ?? new Level();
  }

  async more(parent) {
    const level = this.level(parent);
    await this.extend(parent, level);
    this.levels.set(parent, level);
  }

  async again(parent, level) {
    const fresh = new Level();
    const hadEnded = isSettled(this.find(parent)?.phase ?? "");
    do await this.extend(parent, fresh);
    while (fresh.next && fresh.pages < level.pages);
    fresh.isFinal = hadEnded && fresh.items.every((one) => isSettled(one.phase));
    this.levels.set(parent, fresh);
  }

  async extend(parent, level) {
    const answer = await get(["runs", this.name, "actions"], { parent, limit: PAGE, after: level.next });
    level.items.push(...answer.items);
    level.next = answer.next;
    level.pages += 1;
  }

  find(id) {
    if (this.root?.id === id) return this.root;
    for (const level of this.levels.values()) {
      const found = level.items.find((one) => one.id === id);
      if (found) return found;
    }
    return null;
  }

  async toggle(action) {
    if (this.levels.has(action.id) && !this.folded.has(action.id)) this.folded.add(action.id);
    else {
      this.folded.delete(action.id);
      if (!this.levels.has(action.id)) await this.try(action.id);
    }
    this.app.draw();
  }

  async try(parent) {
    try {
      await this.more(parent);
      this.problem = null;
    } catch (error) {
      this.problem = error;
    }
    this.app.draw();
  }

  view(run) {
    if (!this.root) return empty("No action is known of this run", "It has only been asked for, or what was recorded of it has been swept.");
    const until = run.ended ?? this.app.now();
    const frame = { from: run.started, seconds: Math.max(until - run.started, 1e-6) };
    return h(
      "div",
      { class: "tree", key: "tree" },
      this.problem ? h("p", { class: "refused", role: "alert" }, this.problem.message) : null,
      h("div", { class: "tree-head", "aria-hidden": "true" }, h("span", {}, "Action"), h("span", {}, "Phase"), h("span", { class: "num" }, "Duration"), h("span", {}, `When, within ${duration(frame.seconds)}`)),
      h("ul", { class: "level" }, this.node(this.root, frame, 0)),
    );
  }

  list(parent, frame, depth) {
    const level = this.level(parent);
    return h(
      "ul",
      { class: "level" },
      level.items.map((action) => this.node(action, frame, depth)),
      level.next ? h("li", { class: "node-more", key: "more", style: { "--depth": String(depth) } }, button(`Show ${PAGE} more after these ${count(level.items.length)}`, () => this.try(parent), { class: "quiet" })) : null,
      !level.items.length ? h("li", { class: "node-more small", key: "none", style: { "--depth": String(depth) } }, "It has called nothing.") : null,
    );
  }

  node(action, frame, depth) {
    const isOpen = this.levels.has(action.id) && !this.folded.has(action.id);
    const canOpen = action.has_children !== false;
    const label = `${action.task}${action.number === null || action.number === undefined ? "" : ` ${action.number}`}`;
    const isUnnamed = action !== this.root && (action.number === null || action.number === undefined); // its id tells it apart
    const fold = canOpen
      ? h("button", { type: "button", class: "fold", "aria-expanded": String(isOpen), "aria-label": `Children of ${label}`, onclick: () => this.toggle(action) }, isOpen ? "▾" : "▸")
      : h("span", { class: "fold" });
    return h(
      "li",
      { key: action.id },
      h(
        "div",
        { class: "node", style: { "--depth": String(depth) } },
        h("span", { class: "node-name" }, fold, link(links.action(this.name, action.id), label), isUnnamed ? h("code", { class: "small", title: action.id }, action.id.slice(0, 6)) : null, action.attempts > 1 ? h("span", { class: "small" }, ` ×${action.attempts}`) : null, action.cached ? h("span", { class: "tag" }, "cached") : null, action.cold ? h("span", { class: "tag" }, "cold") : null),
        h("span", { class: "node-phase" }, phase(action.phase)),
        h("span", { class: "num node-time" }, this.lasted(action)),
        bar(action, frame, this.app.now()),
        action.error ? h("span", { class: "node-error failed-text" }, action.error) : null,
      ),
      isOpen ? this.list(action.id, frame, depth + 1) : null,
    );
  }

  lasted(action) {
    if (action.cached) return "–";
    const from = action.started ?? action.queued;
    const until = action.ended ?? (isSettled(action.phase) ? null : this.app.now());
    return until === null || action.started === null ? "–" : duration(until - from);
  }
}

/** When it waited (pale) and when it ran, within the run. */
function bar(action, frame, now) {
  const end = action.ended ?? (isSettled(action.phase) ? action.started ?? action.queued : now);
  const at = (time) => Math.min(100, Math.max(0, ((time - frame.from) / frame.seconds) * 100));
  const part = (kind, from, until) => h("i", { class: kind, style: { left: `${at(from)}%`, width: `${Math.max(at(until) - at(from), 0)}%` } });
  const started = action.started ?? end;
  return h("span", { class: "span-bar", "aria-hidden": "true" }, part("waits", action.queued, started), part(`fill-${action.phase}`, started, end));
}
