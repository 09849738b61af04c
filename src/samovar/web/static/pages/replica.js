// One replica: what it uses, what it runs, what it wrote outside of tasks.

import { get } from "../api.js";
import { h } from "../dom.js";
import { bytes, clock, count, duration, percent } from "../format.js";
import { facts, figure, head, links, slotLegend, slots, sparkline, state } from "../parts.js";

export class ReplicaPage {
  constructor(app, [name]) {
    this.app = app;
    this.name = name;
    this.title = name;
    this.replica = null;
    this.isGone = false;
    this.isAsking = false;
  }

  async load() {
    this.replica = await get(["replicas", this.name]);
  }

  async tick() {
    if (this.isAsking || this.isGone) return;
    this.isAsking = true;
    try {
      await this.load();
    } catch (error) {
      this.isGone = error.status === 404; // else the banner says that the service is away
    }
    this.isAsking = false;
    this.app.draw();
  }

  view() {
    const one = this.replica;
    const past = one.history ?? {};
    const isGone = this.isGone ? h("p", { class: "note waits", role: "status" }, "This replica has ended. What you see is its last state; its pool's timeline shows when and why.") : null;
    return [
      head({ crumbs: [["#/pools", "Pools"], [links.pool(one.pool), one.pool]], title: one.name, badge: state(this.isGone ? "ended" : one.state) }),
      isGone,
      one.blockage && !this.isGone ? blocked(one.blockage) : null,
      h(
        "dl",
        { class: "figures" },
        figure("Memory", bytes(one.rss), "", sparkline("Memory", past.rss, bytes)),
        figure("CPU", percent(one.cpu), "of a core", sparkline("CPU", past.cpu, percent)),
        figure("Loop lag", duration(one.lag), "", sparkline("Event loop lag", past.lag, duration)),
        figure("Active", count(one.active), `of ${count(one.slots)}`, sparkline("Active", past.active)),
        figure("Served", count(one.served), "", h("p", { class: "small" }, "tasks since it started")),
        figure("Age", duration(one.age), "", h("p", { class: "small" }, `since ${clock(one.started_at)}`)),
      ),
      h("div", { class: "block" }, h("div", { class: "head-row" }, h("h2", {}, "Slots"), slots(one)), slotLegend(), this.runs(one)),
      facts([
        ["Environment", one.environment],
        ["Process", one.pid],
        ["Heard of", one.heard === null || one.heard === undefined ? "" : `${duration(one.heard)} ago`],
      ]),
      this.log(one.log ?? []),
    ];
  }

  runs(one) {
    if (!one.runs?.length) return h("p", { class: "quiet-line" }, "It runs nothing now.");
    return h("ul", { class: "plain", "aria-label": "What it runs" }, one.runs.map((label, at) => h("li", { key: `${at}` }, label)));
  }

  log(lines) {
    const text = lines.map((line) => (typeof line === "string" ? line : line.text)).join("\n");
    return h(
      "section",
      { class: "block", "aria-labelledby": "h-log" },
      h("h2", { id: "h-log" }, "Written outside of tasks"),
      lines.length ? h("pre", { class: "log", tabindex: "0", role: "region", "aria-label": "Log of the replica" }, text) : h("p", { class: "quiet-line" }, "Nothing. What tasks write is on the pages of their actions and runs."),
    );
  }
}

/** A task that keeps the event loop from turning: which, for how long, and where it is. */
function blocked({ task, label, seconds, stack }) {
  return h(
    "section",
    { class: "block failure", key: "blocked", "aria-labelledby": "h-blocked" },
    h("h2", { id: "h-blocked" }, `${label || task || "Code that no task has started"} blocks the event loop`),
    h("p", {}, `For ${duration(seconds)} by now nothing else on this replica has run. Await what takes long, or make it a sync task in an environment with concurrency 1.`),
    stack ? h("pre", { class: "traceback", tabindex: "0", role: "region", "aria-label": "Where it is" }, stack) : null,
  );
}
