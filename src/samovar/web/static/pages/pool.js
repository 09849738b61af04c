// One pool: its timeline, its scaling decisions with their reasons, its replicas.

import { get } from "../api.js";
import { h } from "../dom.js";
import { clock, count, duration, many } from "../format.js";
import { button, cell, empty, head, links, settings, slotLegend, state, table } from "../parts.js";
import { HELP } from "../timeline/controls.js";
import { Timeline } from "../timeline/timeline.js";
import { poolFigures, replicaTable } from "./pools.js";
import { poolTools } from "./pool_tools.js";

const OVERLAP = 2; // seconds asked for again, for clocks and answers under way
const MOST = 300_000; // executions kept on the page before it begins anew
const DECISIONS = 50;
const RECKONED = 5; // seconds between two tables of figures by task

export class PoolPage {
  constructor(app, [name]) {
    this.app = app;
    this.name = name;
    this.title = name;
    this.pool = null;
    this.hidden = new Set();
    this.tasks = [];
    this.reckonedAt = 0;
    this.isAsking = false;
    this.begin();
  }

  begin() {
    this.line?.unmount();
    this.beginnings = (this.beginnings ?? 0) + 1;
    this.line = new Timeline({
      now: () => this.app.now(),
      open: (run, action) => (location.hash = links.action(run, String(action))),
      openReplica: (replica) => (location.hash = links.replica(replica)),
      changed: () => this.app.draw(),
    });
    this.since = null;
  }

  async load() {
    const [pool] = await Promise.all([get(["pools", this.name]), this.more()]);
    this.pool = pool;
    this.reckon();
  }

  /** The timeline since the last answer; all that is kept at first. */
  async more() {
    const answer = await get(["pools", this.name, "timeline"], { since: this.since });
    this.since = answer.now - OVERLAP;
    this.line.merge(answer);
  }

  hear(event, data) {
    if (event !== "pools") return;
    this.pool = data.items.find((pool) => pool.name === this.name) ?? this.pool;
  }

  async tick() {
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      if (this.line.model.count > MOST) this.begin();
      await this.more();
      if (this.app.now() - this.reckonedAt > RECKONED) this.reckon();
    } catch {
      // the banner says that the service is away
    }
    this.isAsking = false;
    this.app.draw();
  }

  reckon() {
    this.tasks = this.line.model.byTask(this.app.now());
    this.reckonedAt = this.app.now();
  }

  stop() {
    this.line.unmount();
  }

  view() {
    const { pool } = this;
    const changed = (now) => {
      this.pool = now;
      this.app.draw();
    };
    return [
      head({ crumbs: [["#/pools", "Pools"]], title: pool.name, badge: state(pool.state), tools: poolTools(pool, changed), note: pool.note }),
      poolFigures(pool),
      this.timeline(),
      this.decisions(),
      this.byTask(),
      h("section", { class: "block", key: "replicas", "aria-labelledby": "h-replicas" }, h("h2", { id: "h-replicas" }, "Replicas"), pool.rows.length ? [slotLegend(), replicaTable(`Replicas of ${pool.name}`, pool.rows)] : h("p", { class: "quiet-line" }, "No replica runs. The next action starts one.")),
      h("details", { class: "settings", key: "settings" }, h("summary", {}, "Settings"), settings(pool.settings)),
    ];
  }

  timeline() {
    const { line } = this;
    const { model } = line;
    const { executions: n, dropped } = model;
    if (!n && !model.rows.length) return empty("Nothing has run here yet", "Call a task of this environment, and its executions appear here as bars.");
    const words = `${many(n, "execution")} on ${many(model.rows.length, "replica")}${dropped ? `; ${count(dropped)} older ones are not kept` : ""}`;
    return h(
      "section",
      { class: "block", key: "timeline", "aria-labelledby": "h-timeline" },
      h("div", { class: "head-row" }, h("h2", { id: "h-timeline" }, "Timeline"), h("span", { class: "small" }, words), this.tools()),
      this.legend(),
      h("div", {
        key: this.beginnings, // another timeline is another element
        class: "timeline",
        tabindex: "0",
        role: "group",
        "aria-roledescription": "timeline",
        "aria-label": `Timeline: ${words}. The tables below have it in words.`,
        "aria-describedby": "timeline-help",
        mount: (host) => line.mount(host),
      }),
      h("p", { class: "small help", id: "timeline-help" }, HELP, " The wheel zooms, dragging moves."),
    );
  }

  tools() {
    const { line } = this;
    const hasEnded = line.model.rows.some((row) => row.replica.ended_at !== null);
    return h(
      "div",
      { class: "tools", role: "group", "aria-label": "What the timeline shows" },
      hasEnded ? button("Ended replicas", () => line.toggleEnded(), { "aria-pressed": String(line.scene.isEndedShown) }) : null,
      button("−", () => line.zoom(1 / 0.6), { "aria-label": "Zoom out" }),
      button("+", () => line.zoom(0.6), { "aria-label": "Zoom in" }),
      button("All", () => this.all(), { "aria-pressed": String(line.isWhole) }),
      button("Follow", () => line.toggleFollow(), { "aria-pressed": String(line.isFollowing) }),
    );
  }

  all() {
    this.line.showAll();
    this.app.draw();
  }

  /** Each task with its colour; pressed ones are shown. */
  legend() {
    const { model } = this.line;
    const toggle = (task) => () => {
      if (this.hidden.has(task)) this.hidden.delete(task);
      else this.hidden.add(task);
      this.line.hide(this.hidden);
      this.app.draw();
    };
    const only = model.tasks.all.map((name, task) =>
      h("button", { type: "button", key: name, class: "chip", "aria-pressed": String(!this.hidden.has(task)), onclick: toggle(task) }, h("i", { class: `swatch task-${this.line.colour(task)}`, "aria-hidden": "true" }), name),
    );
    const signs = [["starting", "starting"], ["parked", "parked"], ["failed", "failed"], ["lost", "attempt lost"]];
    return h(
      "div",
      { class: "legend" },
      h("div", { class: "chips", role: "group", "aria-label": "Tasks that are shown" }, only),
      h("p", { class: "signs", "aria-hidden": "true" }, signs.map(([kind, text]) => h("span", {}, h("i", { class: `swatch sign-${kind}` }), text))),
    );
  }

  decisions() {
    const shown = this.line.model.events.slice(-DECISIONS).reverse();
    if (!shown.length) return null;
    const columns = [["When"], ["Change"], ["Wanted", "num"], ["Why"]];
    const rows = shown.map((event, at) => h("tr", { key: `${event.at} ${event.replica ?? at}` }, cell(clock(event.at, 1), "time"), cell([event.change, event.replica ? h("span", { class: "small" }, ` ${event.replica}`) : null]), cell(event.replica ? "" : count(event.replicas), "num"), cell(event.reason)));
    return h("section", { class: "block", key: "decisions", "aria-labelledby": "h-decisions" }, h("h2", { id: "h-decisions" }, "Scaling decisions"), table("Scaling decisions, newest first", columns, rows, { class: "table short" }));
  }

  byTask() {
    if (!this.tasks.length) return null;
    const columns = [["Task"], ["Executions", "num"], ["Failed", "num"], ["Half took", "num"], ["95 % took", "num wide"], ["Longest", "num"]];
    const rows = this.tasks.map((one, at) =>
      h(
        "tr",
        { key: one.task },
        h("th", { scope: "row" }, h("i", { class: `swatch task-${this.line.colour(at)}`, "aria-hidden": "true" }), one.task),
        cell(count(one.count), "num"),
        cell(count(one.failed), one.failed ? "num failed-text" : "num"),
        cell(duration(one.middle), "num"),
        cell(duration(one.slow), "num wide"),
        cell(duration(one.longest), "num"),
      ),
    );
    return h("section", { class: "block", key: "tasks", "aria-labelledby": "h-tasks" }, h("h2", { id: "h-tasks" }, "Tasks on the timeline"), table("Tasks on the timeline", columns, rows));
  }
}
