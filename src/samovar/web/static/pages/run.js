// One run: the tree of its actions, all of them with filters, and its log.

import { get, post } from "../api.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import { PHASES, clock, count, duration, isSettled, many } from "../format.js";
import { Filters, Pages } from "../lists.js";
import { Logs } from "../logs.js";
import { button, cell, empty, facts, head, link, links, phase, table } from "../parts.js";
import { runLasted } from "./runs.js";
import { Tree } from "./tree.js";

const PAGE = 100;
const TABS = [["", "Tree"], ["actions", "All actions"], ["logs", "Log"]];

export class RunPage {
  constructor(app, [name], query) {
    this.app = app;
    this.name = name;
    this.title = name;
    this.run = null;
    this.tree = new Tree(app, name);
    this.list = new Flat(app, name);
    this.logs = null;
    this.isAsking = false;
    this.turnTo(query);
  }

  turnTo(query) {
    this.tab = TABS.some(([tab]) => tab === query.tab) ? query.tab : "";
    this.list.turn(query);
    if (this.tab !== "logs") this.endLogs();
    else this.logs ??= new Logs(this.name);
  }

  turn(query) {
    this.turnTo(query);
    this.app.load();
  }

  async load() {
    this.run = await get(["runs", this.name]);
    await this.current?.load(this.run);
  }

  get current() {
    return { "": this.tree, actions: this.list, logs: null }[this.tab];
  }

  tick() {
    if (this.run && !isSettled(this.run.phase)) this.refresh();
  }

  hear(event, data) {
    const news = event === "runs" ? (data.items ?? data).find((run) => run.name === this.name) : null;
    if (news && news.phase !== this.run?.phase) this.refresh();
  }

  /** One refresh at a time; a slow service is not asked faster than it answers. */
  async refresh() {
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      this.run = await get(["runs", this.name]);
      await this.current?.refresh(this.run);
    } catch {
      // the banner says that the service is away
    }
    this.isAsking = false;
    this.app.draw();
  }

  stop() {
    this.list.filters.stop();
    this.endLogs();
  }

  endLogs() {
    this.logs?.stop();
    this.logs = null;
  }

  view() {
    const { run } = this;
    const abort = isSettled(run.phase) ? null : button("Abort …", () => this.abort(), { class: "danger-text" });
    return [
      head({ crumbs: [["#/runs", "Runs"]], title: run.name, badge: phase(run.phase), tools: [abort] }),
      facts([
        ["Task", run.task],
        ["Started", clock(run.started)],
        ["Duration", duration(runLasted(run, this.app.now()))],
        ["Actions", count(run.actions)],
        ["Pools", run.pools?.length ? h("span", { class: "list" }, run.pools.map((pool) => link(links.pool(pool), pool))) : null],
      ]),
      this.counts(),
      this.tabs(),
      this.body(),
    ];
  }

  counts() {
    const known = PHASES.filter((one) => this.run.counts?.[one]);
    if (!known.length) return null;
    const all = known.reduce((sum, one) => sum + this.run.counts[one], 0);
    return h(
      "div",
      { class: "counts" },
      h("div", { class: "counts-bar", "aria-hidden": "true" }, known.map((one) => h("i", { class: `fill-${one}`, style: { "flex-grow": String(this.run.counts[one] / all) } }))),
      h("ul", { class: "counts-list", "aria-label": "Actions by phase" }, known.map((one) => h("li", { key: one }, phase(one), ` ${count(this.run.counts[one])}`))),
    );
  }

  tabs() {
    return h(
      "nav",
      { class: "tabs", "aria-label": "Parts of this run", key: "tabs" },
      TABS.map(([tab, text]) => link(`${links.run(this.name)}${tab ? `?tab=${tab}` : ""}`, text, { "aria-current": tab === this.tab ? "page" : null })),
    );
  }

  body() {
    if (this.tab === "logs") return h("div", { class: "logs", key: "logs", mount: (host) => this.logs.mount(host) });
    return this.current.view(this.run);
  }

  abort() {
    return ask({
      title: `Abort ${this.name}?`,
      text: "All its actions that have not ended are aborted. What is settled stays.",
      action: "Abort it",
      danger: true,
      done: `${this.name} is aborted`,
      submit: async () => {
        await post(["runs", this.name, "abort"], { reason: "aborted from the dashboard" });
        await this.refresh();
      },
    });
  }
}

/** All actions of a run, newest first, a page at a time. */
class Flat {
  constructor(app, run) {
    this.app = app;
    this.run = run;
    this.filters = new Filters(app, ["phase", "task"]);
    this.pages = new Pages(app, ["runs", run, "actions"], PAGE, "actions");
  }

  turn(query) {
    this.filters.turn(query);
    this.pages.restart();
  }

  load() {
    return this.pages.load(this.filters.values);
  }

  refresh() {
    return this.load();
  }

  view() {
    return [this.filters.view(PHASES.filter((one) => one !== "waiting")), this.pages.items.length ? this.list() : this.none(), this.pages.view()];
  }

  list() {
    const columns = [["Action"], ["Task", "wide"], ["Phase"], ["Queued", "num wide"], ["Duration", "num"], ["Replica", "wide"], ["Error", "wide"]];
    return table("Actions, newest first", columns, this.pages.items.map((one) => actionRow(one, this.app.now())), { key: "list" });
  }

  none() {
    return empty("No action fits these filters", "Choose another phase, or write the task's whole name.", button("Show all", this.filters.clear));
  }
}

/** One action as a row of a table: of a run's list, and of the children of an action. */
export function actionRow(one, now) {
  return h(
    "tr",
    { key: one.id },
    h("th", { scope: "row" }, link(links.action(one.run, one.id), one.number ?? one.id.slice(0, 8)), h("span", { class: "narrow small" }, one.task)),
    cell(one.task, "cut wide", { title: one.task }),
    cell([phase(one.phase), one.attempts > 1 ? h("span", { class: "small" }, ` ${many(one.attempts, "attempt")}`) : null]),
    cell(clock(one.queued, 3), "num wide"),
    cell(one.cached ? "cached" : duration(lasted(one, now)), "num"),
    cell(one.replica ? link(links.replica(one.replica), one.replica) : "–", "wide"),
    cell(one.error || "", "wide cut failed-text", { title: one.error || "" }),
  );
}

/** How long an action has run, or runs by now; null before it starts. */
export function lasted(action, now) {
  if (action.started === null || action.started === undefined) return null;
  if (action.ended) return action.ended - action.started;
  return isSettled(action.phase) ? null : now - action.started;
}
