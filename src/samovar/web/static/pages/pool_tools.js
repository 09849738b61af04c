// What can be done to a pool, from its card and from its page.

import { post } from "../api.js";
import { ask } from "../dialog.js";
import { many } from "../format.js";
import { button } from "../parts.js";

/** Scale, drain and stop; `done(pool)` gets what the service says the pool is now. */
export function poolTools(pool, done) {
  const tell = async (verb, body) => done(await post(["pools", pool.name, verb], body));
  return [
    button("Scale …", () => scale(pool, tell), { "aria-label": `Scale ${pool.name}` }),
    button("Drain …", () => drain(pool, tell), { "aria-label": `Drain ${pool.name}`, disabled: pool.state === "draining" || pool.state === "drained" }),
    button("Stop …", () => stop(pool, tell), { class: "danger-text", "aria-label": `Stop ${pool.name}` }),
  ];
}

function scale(pool, tell) {
  const { min_replicas: min, max_replicas: max } = pool.settings;
  return ask({
    title: `Scale ${pool.name}`,
    text: "Replicas start and end as work comes and goes, within these bounds. Both hold at once.",
    fields: [
      { name: "min", label: "At least", value: min, type: "number", min: 0, hint: "replicas that stay while the pool is awake" },
      { name: "max", label: "At most", value: max, type: "number", min: 1, hint: "replicas, however long the queue is" },
    ],
    action: "Scale",
    done: `${pool.name} is scaled`,
    submit: async ({ min: least, max: most }) => {
      if (!Number.isInteger(least) || !Number.isInteger(most)) throw new Error("Both bounds are whole numbers.");
      if (least > most) throw new Error("“At least” is above “at most”: raise one or lower the other.");
      await tell("scale", { min: least, max: most });
    },
  });
}

function drain(pool, tell) {
  return ask({
    title: `Drain ${pool.name}?`,
    text: `What runs and what waits there is finished (${many(pool.active, "execution")}, ${many(pool.queued, "action")} queued); then its replicas end. New calls start it again.`,
    action: "Drain",
    done: `${pool.name} drains`,
    submit: () => tell("drain"),
  });
}

function stop(pool, tell) {
  return ask({
    title: `Stop ${pool.name}?`,
    text: `Its replicas are ended at once. What they run, ${many(pool.active + pool.parked, "execution")}, is queued again from its beginning; draining finishes it first.`,
    action: "Stop it",
    danger: true,
    done: `${pool.name} is stopped`,
    submit: () => tell("stop"),
  });
}
