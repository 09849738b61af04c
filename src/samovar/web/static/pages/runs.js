// All runs, newest first, with filters that stay in the address.

import { h } from "../dom.js";
import { clock, count, duration, isSettled } from "../format.js";
import { Filters, Pages } from "../lists.js";
import { button, cell, code, empty, head, link, links, phase, table } from "../parts.js";

const PAGE = 50;
const PHASES = ["queued", "running", "succeeded", "failed", "aborted", "timed_out"];

export class RunsPage {
  title = "Runs";

  constructor(app, _, query) {
    this.app = app;
    this.filters = new Filters(app, ["phase", "task", "search"]);
    this.pages = new Pages(app, ["runs"], PAGE, "runs");
    this.filters.turn(query);
  }

  load() {
    return this.pages.load(this.filters.values);
  }

  /** The query of the address has changed. */
  turn(query) {
    this.filters.turn(query);
    this.pages.restart();
    this.app.load();
  }

  hear(event, data) {
    if (event !== "runs") return;
    const known = new Map(this.pages.items.map((run) => [run.name, run]));
    for (const run of data.items ?? data) {
      if (known.has(run.name) || (this.pages.number === 1 && this.wants(run))) known.set(run.name, run);
    }
    this.pages.items = [...known.values()].sort((one, other) => other.started - one.started).slice(0, PAGE);
  }

  wants(run) {
    const { phase: wanted, task, search } = this.filters.values;
    const text = `${run.name} ${run.task}`.toLowerCase();
    return (!wanted || run.phase === wanted) && (!task || run.task === task) && (!search || text.includes(search.toLowerCase()));
  }

  stop() {
    this.filters.stop();
  }

  view() {
    return [head({ title: "Runs" }), this.filters.view(PHASES), this.pages.items.length ? this.list() : this.none(), this.pages.view()];
  }

  list() {
    const columns = [["Run"], ["Task", "wide"], ["Phase"], ["Started", "num wide"], ["Duration", "num"], ["Actions", "num"]];
    return table("Runs, newest first", columns, this.pages.items.map((run) => this.row(run)), { key: "list" });
  }

  row(run) {
    return h(
      "tr",
      { key: run.name },
      h("th", { scope: "row" }, link(links.run(run.name), run.name), h("span", { class: "narrow small" }, run.task)),
      cell(run.task, "cut wide", { title: run.task }),
      cell(phase(run.phase)),
      cell(clock(run.started), "num wide"),
      cell(duration(runLasted(run, this.app.now())), "num"),
      cell(count(run.actions), "num"),
    );
  }

  none() {
    if (this.filters.isOn) return empty("No run fits these filters", "Take one away, or show all.", button("Show all", this.filters.clear));
    return empty("There is no run yet", "Each call of a task from outside is one. Start one:", code("samovar run FILE.py TASK"));
  }
}

/** How long a run has taken, or takes by now. */
export function runLasted(run, now) {
  if (run.ended) return run.ended - run.started;
  return isSettled(run.phase) ? null : now - run.started;
}
