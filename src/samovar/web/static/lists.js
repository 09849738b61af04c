// What lists that are paged and filtered share. Filters live in the address; cursors do not, as they age.

import { get } from "./api.js";
import { h } from "./dom.js";
import { phaseName } from "./format.js";
import { button } from "./parts.js";

const PAUSE = 250; // ms after the last key before a filter holds

/** One page at a time of a list of the service. `parts`: its path; `shown(page, items)`: words for which page this is. */
export class Pages {
  constructor(app, parts, size, noun) {
    this.app = app;
    this.parts = parts;
    this.size = size;
    this.noun = noun;
    this.items = [];
    this.next = "";
    this.restart();
  }

  restart() {
    this.cursors = [""]; // of the pages on the way to this one
  }

  get number() {
    return this.cursors.length;
  }

  async load(filter) {
    const answer = await get(this.parts, { ...filter, limit: this.size, after: this.cursors.at(-1) });
    this.items = answer.items;
    this.next = answer.next;
  }

  view() {
    const { number, next, cursors } = this;
    if (number === 1 && !next) return null;
    const to = (wanted) => () => {
      this.cursors = wanted;
      this.app.load();
    };
    return h(
      "nav",
      { class: "pager", "aria-label": `Pages of ${this.noun}`, key: "pager" },
      button("First", to([""]), { disabled: number === 1 }),
      button("Previous", to(cursors.slice(0, -1)), { disabled: number === 1 }),
      h("span", { class: "small" }, `page ${number}`),
      button("Next", to([...cursors, next]), { disabled: !next }),
    );
  }
}

/** Filters of a list: phase, task, and with `search` any part of a name. What is typed goes into the address. */
export class Filters {
  constructor(app, names) {
    this.app = app;
    this.names = names;
    this.timer = 0;
    this.values = this.from({});
  }

  from(query) {
    return Object.fromEntries(this.names.map((name) => [name, query[name] ?? ""]));
  }

  turn(query) {
    this.values = this.from(query);
  }

  get isOn() {
    return Object.values(this.values).some(Boolean);
  }

  clear = () => this.app.query(this.from({}), true);

  change = (name, pause) => (event) => {
    clearTimeout(this.timer);
    const { value } = event.target;
    this.timer = setTimeout(() => this.app.query({ [name]: value.trim() }, true), pause);
  };

  stop() {
    clearTimeout(this.timer);
  }

  view(phases) {
    const text = (name, label, hint) =>
      this.names.includes(name)
        ? h("label", {}, h("span", {}, label), h("input", { type: "search", value: this.values[name], oninput: this.change(name, PAUSE), placeholder: hint, spellcheck: "false" }))
        : null;
    return h(
      "form",
      { class: "filters", key: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      h(
        "label",
        {},
        h("span", {}, "Phase"),
        h("select", { value: this.values.phase, onchange: this.change("phase", 0) }, h("option", { value: "" }, "any"), phases.map((one) => h("option", { value: one }, phaseName(one)))),
      ),
      text("task", "Task", "its whole name"),
      text("search", "Name or task", "any part"),
      this.isOn ? button("Show all", this.clear, { class: "quiet" }) : null,
    );
  }
}
