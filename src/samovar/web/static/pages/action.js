// One action: what went in and came out, its attempts, its error, its log, and where its time went.

import { get, post } from "../api.js";
import { ask } from "../dialog.js";
import { h, say } from "../dom.js";
import { clock, duration, isSettled, percent } from "../format.js";
import { Logs } from "../logs.js";
import { button, cell, copy, facts, head, link, links, phase, stack, table } from "../parts.js";
import { actionRow, lasted } from "./run.js";

const CHILDREN = 20;

export class ActionPage {
  constructor(app, [run, id]) {
    this.app = app;
    this.run = run;
    this.id = id;
    this.title = `Action of ${run}`;
    this.action = null;
    this.children = { items: [], next: "" };
    this.logs = new Logs(run, id);
    this.isAsking = false;
    this.wasCopied = false;
  }

  async load() {
    this.action = await get(["runs", this.run, "actions", this.id]);
    if (this.action.id !== this.id) return location.replace(links.action(this.run, this.action.id)); // a timeline knows its number
    if (this.action.has_children !== false) this.children = await get(["runs", this.run, "actions"], { parent: this.id, limit: CHILDREN });
    this.title = `${this.action.task} of ${this.run}`;
    return undefined;
  }

  async tick() {
    if (this.isAsking || isSettled(this.action.phase)) return;
    this.isAsking = true;
    try {
      await this.load();
    } catch {
      // the banner says that the service is away
    }
    this.isAsking = false;
    this.app.draw();
  }

  stop() {
    this.logs.stop();
  }

  view() {
    const one = this.action;
    const abort = isSettled(one.phase) ? null : button("Abort …", () => this.abort(), { class: "danger-text" });
    const name = one.number === null || one.number === undefined ? one.task : `${one.task} ${one.number}`;
    return [
      head({ crumbs: [["#/runs", "Runs"], [links.run(this.run), this.run]], title: name, badge: phase(one.phase), tools: [abort] }),
      facts([
        ["Queued", clock(one.queued, 3)],
        ["Duration", one.cached ? "answered from the cache" : duration(lasted(one, this.app.now()))],
        ["Start", one.started ? (one.cold ? "cold" : "warm") : null],
        ["Pool", one.pool ? link(links.pool(one.pool), one.pool) : null],
        ["Replica", one.replica ? link(links.replica(one.replica), one.replica) : null],
        ["Called by", one.parent ? link(links.action(this.run, one.parent), one.parent.slice(0, 12)) : "a script or the command line"],
        ["Id", h("code", {}, one.id)],
      ]),
      one.failure ? this.failure(one.failure) : null,
      this.times(one),
      this.values(one),
      this.attempts(one),
      this.called(),
      section("Log", "log", h("div", { class: "logs", key: "logs", mount: (host) => this.logs.mount(host) })),
    ];
  }

  failure({ kind, code, message, traceback }) {
    const whole = traceback || `${code || kind}: ${message}`;
    const copied = async () => {
      await copy(whole);
      say("The traceback is copied");
      this.wasCopied = true;
      this.app.draw();
    };
    const tools = h("div", { class: "tools" }, button(this.wasCopied ? "Copied" : "Copy", copied, { "aria-label": "Copy the traceback" }));
    const title = [kind, code].filter(Boolean).filter((part, at, all) => all.indexOf(part) === at).join(" · ");
    return h(
      "section",
      { class: "block failure", key: "failure", "aria-labelledby": "h-failure" },
      h("div", { class: "head-row" }, h("h2", { id: "h-failure" }, "Error"), h("span", { class: "small" }, title), tools),
      h("p", { class: "failed-text message" }, message),
      traceback ? h("pre", { class: "traceback", tabindex: "0", role: "region", "aria-label": "Traceback" }, traceback) : null,
    );
  }

  times(one) {
    const spans = one.spans ?? [];
    if (!spans.length) return section("Where its time went", "times", h("p", { class: "quiet-line" }, one.cached ? "It was answered from the cache and took none." : "It is not known: what was recorded of it has been swept."));
    const now = this.app.now();
    const length = (span) => Math.max(0, (span.end ?? now) - span.start);
    const all = spans.reduce((sum, span) => sum + length(span), 0);
    const from = spans[0].start;
    const parts = spans.map((span) => ({ name: span.name, share: all ? length(span) / all : 0, text: `${span.name}: ${duration(length(span))}` }));
    const columns = [["Part"], ["After", "num wide"], ["Took", "num"], ["Share", "num"], ["Why"]];
    const rows = spans.map((span, at) =>
      h(
        "tr",
        { key: `${at}` },
        h("th", { scope: "row" }, h("i", { class: `swatch span-${span.name}`, "aria-hidden": "true" }), span.name),
        cell(duration(span.start - from), "num wide"),
        cell([duration(length(span)), span.end === null ? " so far" : ""], "num"),
        cell(percent(all ? length(span) / all : 0), "num"),
        cell(span.reason || MEANINGS[span.name] || ""),
      ),
    );
    return section("Where its time went", "times", stack(parts), table("Where its time went", columns, rows));
  }

  values(one) {
    const value = (title, preview) => h("div", { class: "value" }, h("h3", {}, title), preview === null || preview === undefined ? h("p", { class: "quiet-line" }, title === "Result" && !isSettled(one.phase) ? "It has not ended." : "There is no preview.") : h("pre", { tabindex: "0", role: "region", "aria-label": title }, shown(preview)));
    return section("Values", "values", h("div", { class: "values" }, value("Inputs", one.inputs), value("Result", one.result)));
  }

  attempts(one) {
    const all = one.attempts_list ?? [];
    if (!all.length) return null;
    const columns = [["Attempt", "num"], ["Replica"], ["Start"], ["Began", "num wide"], ["Took", "num"], ["How it ended"]];
    const rows = all.map((attempt) =>
      h(
        "tr",
        { key: `${attempt.attempt}` },
        h("th", { scope: "row", class: "num" }, attempt.attempt),
        cell(attempt.replica ? link(links.replica(attempt.replica), attempt.replica) : "–"),
        cell(attempt.cold ? "cold" : "warm"),
        cell(clock(attempt.started, 3), "num wide"),
        cell(duration(attempt.ended ? attempt.ended - attempt.started : isSettled(one.phase) ? null : this.app.now() - attempt.started), "num"),
        cell(attempt.failure ? failureLine(attempt.failure) : attempt.ended ? "well" : "it runs", attempt.failure ? "failed-text" : null),
      ),
    );
    return section("Attempts", "attempts", table("Attempts", columns, rows));
  }

  called() {
    const { items, next } = this.children;
    if (!items.length) return null;
    const columns = [["Action"], ["Task", "wide"], ["Phase"], ["Queued", "num wide"], ["Duration", "num"], ["Replica", "wide"], ["Error", "wide"]];
    return section("What it called", "children", table("What it called", columns, items.map((one) => actionRow({ run: this.run, ...one }, this.app.now()))), next ? h("p", { class: "small" }, `These are the first ${CHILDREN}. `, link(links.run(this.run), "The run's tree"), " has all.") : null);
  }

  abort() {
    return ask({
      title: "Abort this action?",
      text: "It is aborted with all that it has called. Its caller gets an error.",
      action: "Abort it",
      danger: true,
      done: "The action is aborted",
      submit: async () => {
        await post(["runs", this.run, "actions", this.id, "abort"], { reason: "aborted from the dashboard" });
        await this.load();
        this.app.draw();
      },
    });
  }
}

const MEANINGS = {
  queue: "it waited for a free slot",
  start: "a replica was started for it",
  dispatch: "on its way to the replica",
  run: "the task's own time",
  parked: "it waited for what it had called",
  retry: "it waited to be tried again",
};

const failureLine = (failure) => (typeof failure === "string" ? failure : [failure.kind, failure.message].filter(Boolean).join(": "));

const shown = (preview) => (typeof preview === "string" ? preview : JSON.stringify(preview, null, 2));

function section(title, key, ...content) {
  return h("section", { class: "block", key, "aria-labelledby": `h-${key}` }, h("h2", { id: `h-${key}` }, title), content);
}
