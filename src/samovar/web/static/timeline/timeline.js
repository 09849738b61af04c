// The timeline of a pool: a row a replica, a bar an execution. It keeps a model, looks at it through a scene, and draws
// when something has changed: at most once a frame, and while it follows what happens, a few times a second.

import { h, patch, say } from "../dom.js";
import { clock, duration, many } from "../format.js";
import { Controls } from "./controls.js";
import { LOST, Model, PHASE_NAMES } from "./model.js";
import { AXIS, COLOURS, DECISIONS, Painter, Palette } from "./paint.js";
import { Scene } from "./scene.js";

const SHORTEST = 1e-3; // seconds across
const LONGEST = 14 * 86_400;
const LEAST_HEIGHT = 120;
const MARGIN = 0.02; // of free room right of now
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

export class Timeline {
  /** `now()`: seconds on the service's clock; `open(run, action)`; `changed()`: buttons and legend are to be drawn anew. */
  constructor({ now, open, openReplica, changed }) {
    this.clock = now;
    this.open = open;
    this.openReplica = openReplica;
    this.changed = changed;
    this.model = new Model();
    this.scene = new Scene(this.model);
    this.colourNumbers = new Map();
    this.isFollowing = true;
    this.isWhole = true; // from the first execution to now
    this.chosen = -1; // by keys
    this.hovered = -1;
    this.isWaiting = false;
  }

  mount(host) {
    this.host = host;
    this.axis = canvas("axis");
    this.canvas = canvas("rows");
    this.scroller = document.createElement("div");
    this.scroller.className = "rows-scroller";
    this.spacer = document.createElement("div");
    this.spacer.className = "rows-spacer";
    this.spacer.append(this.canvas);
    this.scroller.append(this.spacer);
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    host.append(this.axis, this.scroller, this.tip);
    this.painter = new Painter(this.scene, (task) => this.colour(task));
    this.controls = new Controls(this, host);
    this.scroller.onscroll = () => this.scrolled();
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(host);
    this.restyle = () => {
      this.painter.palette = new Palette();
      this.draw();
    };
    window.addEventListener("samovar-theme", this.restyle);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.restyle);
    this.timer = setInterval(() => this.follow(), isCalm.matches ? 1000 : 100);
    this.resize();
  }

  unmount() {
    clearInterval(this.timer);
    this.sizes?.disconnect();
    this.scheme?.removeEventListener("change", this.restyle);
    window.removeEventListener("samovar-theme", this.restyle);
  }

  // data

  merge(answer) {
    this.model.merge(answer);
    this.rearrange();
  }

  hide(tasks) {
    this.model.hide(tasks);
    this.chosen = this.hovered = -1;
    this.rearrange();
  }

  rearrange() {
    this.scene.arrange();
    if (this.isWhole) this.showAll();
    if (this.host) this.resize();
  }

  /** A task keeps its colour for as long as the page is open, and has the same one on another day unless two meet. */
  colour(task) {
    let found = this.colourNumbers.get(task);
    if (found === undefined) {
      const taken = new Set(this.colourNumbers.values());
      found = hash(this.model.tasks.all[task]) % (COLOURS - 1); // grey, the last one, only when the others are taken
      for (let tried = 0; taken.has(found) && tried < COLOURS; tried += 1) found = (found + 1) % COLOURS;
      this.colourNumbers.set(task, found);
    }
    return found;
  }

  // what is in sight

  get span() {
    return this.scene.until - this.scene.from;
  }

  show(from, until) {
    const span = Math.min(LONGEST, Math.max(SHORTEST, until - from));
    const middle = (from + until) / 2;
    this.scene.from = span === until - from ? from : middle - span / 2;
    this.scene.until = this.scene.from + span;
    this.draw();
  }

  showAll() {
    const now = this.clock();
    const from = Number.isFinite(this.model.first) ? this.model.first : now - 60;
    const span = Math.max(now - from, 1);
    this.isWhole = true;
    this.show(from - span * MARGIN, now + span * MARGIN);
  }

  /** `share` of the width, to the right if positive. */
  pan(share) {
    this.moved(share < 0);
    const by = this.span * share;
    this.show(this.scene.from + by, this.scene.until + by);
  }

  /** Around the time at `x`, or the middle; the right edge while it follows. */
  zoom(factor, x = null) {
    const { scene } = this;
    this.moved(false);
    const at = this.isFollowing ? scene.until : x === null ? (scene.from + scene.until) / 2 : scene.time(x);
    const span = Math.min(LONGEST, Math.max(SHORTEST, this.span * factor));
    const share = (at - scene.from) / this.span;
    this.show(at - span * share, at + span * (1 - share));
  }

  /** No longer all is in sight; and what happens now is not, when one looks back. The buttons say so. */
  moved(isBack = true) {
    const isNews = this.isWhole || (isBack && this.isFollowing);
    this.isWhole = false;
    if (isBack) this.isFollowing = false;
    if (isNews) this.changed();
  }

  toggleFollow() {
    this.isFollowing = !this.isFollowing;
    say(this.isFollowing ? "The timeline follows what happens" : "The timeline stands still");
    this.follow();
    this.changed();
  }

  follow() {
    if (!this.isFollowing || document.hidden) return;
    if (this.isWhole) this.showAll();
    else {
      const span = this.span;
      const until = this.clock() + span * MARGIN;
      this.show(until - span, until);
    }
  }

  toggleEnded() {
    this.scene.isEndedShown = !this.scene.isEndedShown;
    this.rearrange();
    this.changed();
  }

  // choosing with keys

  chooseRow(step) {
    const { order } = this.scene;
    if (!order.length) return;
    const place = this.chosen < 0 ? (step > 0 ? 0 : order.length - 1) : Math.min(order.length - 1, Math.max(0, order.indexOf(this.model.row[this.chosen]) + step));
    const time = this.chosen < 0 ? this.scene.until : this.model.start[this.chosen];
    for (let at = place; at >= 0 && at < order.length; at += step) {
      const found = this.model.near(order[at], time, this.clock());
      if (found >= 0) return this.choose(found);
    }
  }

  chooseNext(step) {
    if (this.chosen < 0) return this.chooseRow(1);
    const { items } = this.model.rows[this.model.row[this.chosen]];
    let at = items.indexOf(this.chosen) + step;
    while (at >= 0 && at < items.length && this.model.lane[items[at]] < 0) at += step;
    if (at >= 0 && at < items.length) this.choose(items[at]);
  }

  choose(one) {
    const { model, scene } = this;
    this.chosen = one;
    const place = scene.order.indexOf(model.row[one]);
    const top = scene.tops[place];
    if (top < scene.scroll) this.scroller.scrollTop = top;
    else if (scene.tops[place + 1] > scene.scroll + scene.height) this.scroller.scrollTop = scene.tops[place + 1] - scene.height;
    const x = scene.x(model.start[one]);
    if (x < scene.gutter || x > scene.width - 20) {
      this.moved();
      const from = model.start[one] - this.span / 3;
      this.show(from, from + this.span);
    }
    this.tell(one, Math.max(scene.gutter, scene.x(model.start[one])), top - scene.scroll + AXIS + DECISIONS + 30);
    say(this.words(one).join(", "));
    this.draw();
  }

  openChosen() {
    if (this.chosen >= 0) this.openOne(this.chosen);
  }

  openOne(one) {
    this.open(this.model.runs.all[this.model.run[one]], this.model.action[one]);
  }

  unchoose() {
    this.chosen = -1;
    this.tip.hidden = true;
    this.draw();
  }

  // details

  words(one) {
    const { model } = this;
    if (model.members[one] > 1) return this.crowdWords(one);
    const parked = model.parked.get(one) ?? [];
    let rest = 0;
    for (let at = 0; at < parked.length; at += 2) rest += Math.min(parked[at + 1], this.clock()) - parked[at];
    return [
      `${model.tasks.all[model.task[one]]} ${model.action[one]}`,
      `${PHASE_NAMES[model.phase[one]]}${model.phase[one] === LOST ? ": this attempt was lost, another followed" : ""}`,
      `${duration(model.until(one, this.clock()) - model.start[one])}${rest > 0 ? `, of which ${duration(rest)} parked` : ""}`,
      `from ${clock(model.start[one], 3)}`,
      `${model.cold[one] ? "cold" : "warm"} start${model.attempt[one] > 1 ? `, attempt ${model.attempt[one]}` : ""}`,
      `on ${model.rows[model.row[one]].replica.name}`,
      `run ${model.runs.all[model.run[one]]}`,
    ];
  }

  /** Of many short ones that share a bar. */
  crowdWords(one) {
    const { model } = this;
    return [
      model.title(one),
      `succeeded: ${many(model.members[one], "short execution")} within ${duration(model.end[one] - model.start[one])}`,
      `${duration(model.busy[one] / model.members[one])} each on average`,
      `from ${clock(model.start[one], 3)}`,
      `on ${model.rows[model.row[one]].replica.name}`,
      `the first is ${model.action[one]} of run ${model.runs.all[model.run[one]]}`,
    ];
  }

  tell(one, x, y) {
    this.tellLines(this.words(one), x, y);
  }

  tellLines(lines, x, y) {
    const { tip } = this;
    patch(tip, lines.map((line, at) => h(at ? "p" : "b", {}, line)));
    tip.hidden = false;
    const width = tip.offsetWidth;
    const left = x + 14 + width > this.scene.width ? Math.max(0, x - width - 14) : x + 14;
    tip.style.left = `${left}px`;
    tip.style.top = `${y + 12}px`;
  }

  /** What is known about a point: an execution, a decision of the strip, or a replica. */
  point(x, y) {
    const { scene, model } = this;
    const now = this.clock();
    const slack = 4 / scene.scale;
    if (x < scene.gutter) return { row: y < AXIS + DECISIONS ? -1 : (scene.under(y - AXIS - DECISIONS)?.row ?? -1) };
    const time = scene.time(x);
    if (y < AXIS) return {};
    if (y < AXIS + DECISIONS) {
      const near = model.events.filter((event) => Math.abs(event.at - time) < slack * 1.5);
      return { events: near };
    }
    const under = scene.under(y - AXIS - DECISIONS);
    if (!under) return {};
    const one = model.at(under.row, under.lane, time, slack, now);
    const { replica } = model.rows[under.row];
    const isStarting = time >= replica.starting_at && time < (replica.ready_at ?? replica.ended_at ?? now);
    return { one, starting: one < 0 && isStarting ? replica : null };
  }

  hover(x, y) {
    const { one = -1, events = [], starting = null, row = -1 } = this.point(x, y);
    this.hovered = one;
    this.host.classList.toggle("is-pointing", one >= 0 || row >= 0);
    if (one >= 0) this.tell(one, x, y);
    else if (events.length) this.tellLines(eventWords(events), x, y);
    else if (starting) this.tellLines([starting.name, `starting: ${duration((starting.ready_at ?? starting.ended_at ?? this.clock()) - starting.starting_at)}`], x, y);
    else if (row >= 0) this.tellLines(this.replicaWords(row), x, y);
    else this.tip.hidden = true;
    this.draw();
  }

  replicaWords(row) {
    const { replica } = this.model.rows[row];
    const end = replica.ended_at === null ? "lives" : `ended ${clock(replica.ended_at)}${replica.end_reason ? `: ${replica.end_reason}` : ""}`;
    return [replica.name, `started ${clock(replica.starting_at)}`, end, many(this.model.size(row), "execution")];
  }

  leave() {
    this.hovered = -1;
    this.tip.hidden = true;
    this.draw();
  }

  click(x, y) {
    const { one = -1, row = -1 } = this.point(x, y);
    if (one >= 0) this.openOne(one);
    else if (row >= 0) this.openReplica(this.model.rows[row].replica.name);
  }

  // drawing

  resize() {
    const { scene } = this;
    scene.arrange();
    const width = this.scroller.clientWidth;
    const most = Math.max(LEAST_HEIGHT, Math.round(window.innerHeight * 0.6));
    const height = Math.max(LEAST_HEIGHT, Math.min(most, scene.total));
    this.spacer.style.height = `${Math.max(scene.total, height)}px`;
    this.scroller.style.height = `${height}px`;
    if (width !== scene.width || height !== scene.height || devicePixelRatio !== this.ratio) {
      this.ratio = devicePixelRatio;
      scene.width = width;
      scene.height = height;
      fit(this.axis, width, AXIS + DECISIONS, this.ratio);
      fit(this.canvas, width, height, this.ratio);
    }
    this.scrolled();
  }

  scrolled() {
    this.scene.scroll = this.scroller.scrollTop;
    this.draw();
  }

  draw() {
    if (this.isWaiting || !this.painter) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.painter.paint(this.axis.getContext("2d"), this.canvas.getContext("2d"), { now: this.clock(), chosen: this.chosen, hovered: this.hovered });
    });
  }
}

export function eventWords(events) {
  const shown = events.slice(-5);
  return [events.length > 5 ? `${events.length} decisions, the last five` : "Scaling", ...shown.map((event) => `${clock(event.at, 1)} ${event.change}${event.replica ? ` ${event.replica}` : ""}: ${event.reason}`)];
}

function canvas(name) {
  const made = document.createElement("canvas");
  made.className = `canvas-${name}`;
  made.setAttribute("aria-hidden", "true");
  return made;
}

function fit(canvas, width, height, ratio) {
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
}

function hash(text) {
  let found = 2166136261;
  for (let at = 0; at < text.length; at += 1) found = Math.imul(found ^ text.charCodeAt(at), 16777619);
  return (found ^ (found >>> 15)) >>> 0;
}
