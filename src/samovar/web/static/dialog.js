// Questions that must be answered before something is done: whether to stop a pool, between which numbers to scale it.
// The dialog stays, with the reason, when the service refuses.

import { h, patch, say } from "./dom.js";

/** `submit(values)` does it, and may raise; resolves to whether it was done. `fields`: {name, label, value, type, min, hint}. */
export function ask({ title, text = "", fields = [], action, danger = false, submit, done = "" }) {
  const host = document.getElementById("dialogs");
  return new Promise((resolve) => {
    const values = Object.fromEntries(fields.map((field) => [field.name, field.value]));
    let error = null;
    let isBusy = false;
    let element = null;
    const finish = (wasDone) => {
      if (element.open) element.close();
      patch(host);
      resolve(wasDone);
    };
    const send = async (event) => {
      event.preventDefault();
      isBusy = true;
      draw();
      try {
        await submit(values);
        if (done) say(done);
        finish(true);
      } catch (raised) {
        error = raised;
        isBusy = false;
        draw();
      }
    };
    const input = (field) =>
      h(
        "label",
        { class: "field" },
        h("span", {}, field.label),
        h("input", {
          name: field.name,
          type: field.type ?? "text",
          min: field.min ?? null,
          value: field.value,
          required: true,
          autocomplete: "off",
          oninput: (event) => (values[field.name] = field.type === "number" ? event.target.valueAsNumber : event.target.value),
        }),
        field.hint ? h("small", {}, field.hint) : null,
      );
    const draw = () => patch(host, h("dialog", { "aria-labelledby": "asked", onclose: () => resolve(false), onkeydown: (event) => event.stopPropagation() }, form()));
    const form = () =>
      h(
        "form",
        { onsubmit: send },
        h("h2", { id: "asked" }, title),
        text ? h("p", {}, text) : null,
        fields.map(input),
        error ? h("p", { class: "refused", role: "alert" }, error.message) : null,
        h(
          "div",
          { class: "tools" },
          h("button", { type: "button", onclick: () => finish(false) }, "Cancel"),
          h("button", { type: "submit", class: danger ? "danger" : "primary", disabled: isBusy }, action),
        ),
      );
    draw();
    element = host.querySelector("dialog");
    element.showModal();
  });
}
