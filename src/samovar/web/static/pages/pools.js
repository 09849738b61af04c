// All pools: who waits, who works, and on what.

import { get } from "../api.js";
import { h } from "../dom.js";
import { bytes, count, duration, many, percent, short } from "../format.js";
import { code, empty, figure, head, link, links, settings, slotLegend, slots, sparkline, state, table, cell, warmth } from "../parts.js";
import { poolTools } from "./pool_tools.js";

const FIRST_ROWS = 8;

export class PoolsPage {
  title = "Pools";

  constructor(app) {
    this.app = app;
    this.pools = [];
    this.unfolded = new Set();
  }

  async load() {
    this.pools = (await get(["pools"])).items;
  }

  hear(event, data) {
    if (event === "pools") this.pools = data.items;
  }

  changed(pool) {
    this.pools = this.pools.map((one) => (one.name === pool.name ? pool : one));
    this.app.draw();
  }

  view() {
    if (!this.pools.length) return [head({ title: "Pools" }), none()];
    return [head({ title: "Pools", note: summary(this.pools) }), slotLegend(), h("div", { class: "cards", key: "cards" }, this.pools.map((pool) => this.card(pool)))];
  }

  card(pool) {
    const id = `pool-${pool.name}`;
    return h(
      "section",
      { class: "card", key: pool.name, "aria-labelledby": id },
      h("div", { class: "head-row" }, h("h2", { id }, link(links.pool(pool.name), pool.name)), state(pool.state), h("div", { class: "tools" }, poolTools(pool, (changed) => this.changed(changed)))),
      pool.note ? h("p", { class: "note waits" }, pool.note) : null,
      poolFigures(pool),
      this.replicas(pool),
      h("details", { class: "settings" }, h("summary", {}, "Settings"), settings(pool.settings)),
    );
  }

  replicas(pool) {
    if (!pool.rows.length) return h("p", { class: "quiet-line" }, pool.state === "asleep" ? "No replica runs. The next action starts one." : "No replica runs.");
    const isWhole = this.unfolded.has(pool.name);
    const shown = isWhole ? pool.rows : pool.rows.slice(0, FIRST_ROWS);
    const rest = pool.rows.length - FIRST_ROWS;
    const unfold = () => {
      if (isWhole) this.unfolded.delete(pool.name);
      else this.unfolded.add(pool.name);
      this.app.draw();
    };
    return [
      replicaTable(`Replicas of ${pool.name}`, shown),
      rest > 0 ? h("button", { type: "button", class: "quiet more-rows", "aria-expanded": String(isWhole), onclick: unfold }, isWhole ? "Show fewer" : `Show ${many(rest, "more replica", "more replicas")}`) : null,
    ];
  }
}

/** The figures of one pool, for its card and its page. */
export function poolFigures(pool) {
  const past = pool.history ?? {};
  const all = pool.cold + pool.warm;
  return h(
    "dl",
    { class: "figures" },
    figure("Queue", count(pool.queued), "", sparkline("Queued", past.queued)),
    figure("Throughput", short(pool.throughput), "/s", sparkline("Done in a second", past.done_per_second)),
    figure("Active", count(pool.active), `of ${many(pool.slots, "slot")}`, sparkline("Active", past.active)),
    figure("Parked", count(pool.parked), "", h("p", { class: "small" }, pool.parked ? "wait for their children" : "none waits for children")),
    figure("Warm starts", all ? percent(pool.warm / all) : "–", "", warmth(pool.cold, pool.warm)),
    figure("Done", count(pool.done), "", h("p", { class: pool.failed ? "small failed-text" : "small" }, pool.failed ? `${count(pool.failed)} failed` : "none failed")),
  );
}

export function replicaTable(caption, rows) {
  const columns = [["Replica"], ["Slots"], ["Runs", "wide"], ["Served", "num"], ["Age", "num"], ["Memory", "num wide"], ["CPU", "num wide"]];
  return table(
    caption,
    columns,
    rows.map((one) =>
      h(
        "tr",
        { key: one.name },
        h("th", { scope: "row" }, link(links.replica(one.name), one.name)),
        cell([slots(one), one.state === "ready" ? null : h("span", { class: "small" }, ` ${one.state}`), one.blockage ? h("span", { class: "small failed-text" }, ` blocked for ${duration(one.blockage.seconds)}`) : null]),
        cell(one.runs?.length ? one.runs.join(", ") : "–", "wide cut", { title: one.runs?.join(", ") ?? "" }),
        cell(count(one.served), "num"),
        cell(duration(one.age), "num"),
        cell(bytes(one.rss), "num wide"),
        cell(percent(one.cpu), "num wide"),
      ),
    ),
    { class: "table replicas" },
  );
}

function summary(pools) {
  const sum = (name) => pools.reduce((total, pool) => total + (pool[name] ?? 0), 0);
  const replicas = pools.reduce((total, pool) => total + pool.rows.length, 0);
  return `${many(pools.length, "pool")}, ${many(replicas, "replica")}, ${count(sum("active"))} of ${many(sum("slots"), "slot")} active, ${count(sum("queued"))} queued, ${short(sum("throughput"))} done a second`;
}

function none() {
  return empty("There is no pool yet", "A pool is made when the first task of its environment is called. Run one:", code("samovar run FILE.py TASK"));
}
