// One picture of a scene on two canvases: the axis with the scaling decisions, and the rows in sight. What is narrower
// than a column of two pixels is drawn as one column for all that lies in it, so a picture costs pixels and not executions.

import { clock } from "../format.js";
import { ABORTED, FAILED, LOST } from "./model.js";
import { ticks } from "./scene.js";

export const AXIS = 24;
export const DECISIONS = 22;
export const COLOURS = 10;
const LABELLED = 44; // pixels that a bar needs for its task's name
const COLUMN = 2; // pixels
const STRIPE = 3;
const PALE = 0.34;

/** Colours of the page, read anew when the theme changes. */
export class Palette {
  constructor() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    for (const name of ["surface", "sunken", "line", "text", "muted", "fail", "wait", "ok", "accent", "focus", "on-task"]) this[name] = of(name);
    this.onTask = this["on-task"];
    this.tasks = Array.from({ length: COLOURS }, (_, at) => of(`task-${at}`));
    this.font = `12px ${style.getPropertyValue("--sans")}`;
    this.hatch = hatched(this.muted);
  }
}

function hatched(colour) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const context = tile.getContext("2d");
  context.strokeStyle = colour;
  context.lineWidth = 1.2;
  context.beginPath();
  for (const at of [-3, 3, 9]) {
    context.moveTo(at - 3, 9);
    context.lineTo(at + 9, -3);
  }
  context.stroke();
  return tile;
}

/** Rectangles by colour and strength, so that the canvas changes its state a few times a picture and not for each bar. */
class Batches {
  constructor() {
    this.all = new Map();
  }

  add(colour, alpha, x, y, width, height) {
    let strengths = this.all.get(colour);
    if (!strengths) this.all.set(colour, (strengths = new Map()));
    let rects = strengths.get(alpha);
    if (!rects) strengths.set(alpha, (rects = []));
    const last = rects.length - 4;
    if (last >= 0 && rects[last] + rects[last + 2] === x && rects[last + 1] === y && rects[last + 3] === height) rects[last + 2] += width;
    else rects.push(x, y, width, height);
  }

  fill(context) {
    for (const [colour, strengths] of this.all) {
      context.fillStyle = colour;
      for (const [alpha, rects] of strengths) {
        context.globalAlpha = alpha;
        for (let at = 0; at < rects.length; at += 4) context.fillRect(rects[at], rects[at + 1], rects[at + 2], rects[at + 3]);
      }
    }
    context.globalAlpha = 1;
  }
}

export class Painter {
  /** `colours`: which colour a task's number has. */
  constructor(scene, colours) {
    this.scene = scene;
    this.model = scene.model;
    this.colours = colours;
    this.palette = new Palette();
  }

  paint(axis, rows, { now, chosen, hovered }) {
    this.now = now;
    this.paintAxis(axis);
    this.context = rows;
    const { scene, palette } = this;
    rows.clearRect(0, 0, scene.width, scene.height);
    this.gridlines(rows, 0, scene.height);
    this.below = new Batches();
    this.bars = new Batches();
    this.marks = new Batches();
    this.labels = [];
    this.hatches = [];
    const [first, last] = scene.inSight();
    for (let place = first; place < last; place += 1) this.row(place);
    rows.save();
    rows.beginPath();
    rows.rect(scene.gutter, 0, scene.width - scene.gutter, scene.height);
    rows.clip();
    this.below.fill(rows);
    this.paintHatches(rows);
    this.bars.fill(rows);
    this.marks.fill(rows);
    this.paintLabels(rows);
    if (hovered >= 0 && hovered !== chosen) this.outline(rows, hovered, palette.text, 1);
    if (chosen >= 0) this.outline(rows, chosen, palette.focus, 2);
    rows.restore();
    this.names(rows, first, last);
  }

  // rows

  row(place) {
    const { scene, model } = this;
    const { replica, lanes } = model.rows[scene.order[place]];
    const top = scene.tops[place] - scene.scroll;
    const height = scene.tops[place + 1] - scene.tops[place];
    const from = scene.x(replica.starting_at);
    const until = scene.x(replica.ended_at ?? this.now);
    const inner = [top + scene.nameHeight + 2, height - scene.nameHeight - 4];
    this.below.add(this.palette.sunken, 1, from, inner[0], Math.max(until - from, 1), inner[1]);
    const ready = scene.x(replica.ready_at ?? replica.ended_at ?? this.now);
    if (ready - from > 0.5) this.hatches.push([from, inner[0], ready - from, inner[1]]);
    if (replica.ended_at !== null) this.marks.add(this.palette.muted, 1, Math.round(until) - 1, inner[0], 2, inner[1]);
    lanes.forEach((lane, number) => this.lane(lane, ...scene.lane(place, number, lanes.length)));
  }

  lane(lane, top, each) {
    const { scene, model } = this;
    const { scale, until } = scene;
    const gap = each > 5 ? 1 : 0;
    const height = each - gap;
    lane.sum(this.now);
    let at = lane.first(scene.from);
    while (at < lane.length && model.start[lane.items[at]] < until) {
      const one = lane.items[at];
      const x = scene.x(model.start[one]);
      const width = (model.until(one, this.now) - model.start[one]) * scale;
      if (width >= COLUMN) {
        this.bar(one, x, width, top, height);
        at += 1;
        continue;
      }
      const column = Math.floor(x / COLUMN) * COLUMN;
      let next = lane.after(scene.time(column + COLUMN), at + 1);
      const last = lane.items[next - 1];
      if (next - 1 > at && (model.until(last, this.now) - model.start[last]) * scale >= COLUMN) next -= 1;
      const share = ((lane.busy[next] - lane.busy[at]) * scale) / COLUMN;
      this.bars.add(this.colour(model.task[one]), strength(share), column, top, COLUMN, height);
      if (lane.failed[next] > lane.failed[at]) this.marks.add(this.palette.fail, 1, column, top + height - STRIPE, COLUMN, STRIPE);
      at = next;
    }
  }

  bar(one, x, width, top, height) {
    const { model, scene } = this;
    const colour = this.colour(model.task[one]);
    const stretches = model.parked.get(one);
    if (!stretches) this.bars.add(colour, strength(model.share(one)), x, top, width, height);
    else {
      this.bars.add(colour, PALE, x, top, width, height);
      this.actives(one, stretches).forEach(([from, until]) => this.bars.add(colour, 1, scene.x(from), top, (until - from) * scene.scale, height));
    }
    const phase = model.phase[one];
    const mark = phase === FAILED ? this.palette.fail : phase === LOST ? this.palette.wait : phase === ABORTED ? this.palette.muted : "";
    if (mark) {
      this.marks.add(mark, 1, x, top + height - Math.min(STRIPE, height), width, Math.min(STRIPE, height));
      this.marks.add(mark, 1, x + width - Math.min(STRIPE, width), top, Math.min(STRIPE, width), height);
    }
    if (width > LABELLED && height > 11) this.labels.push([one, Math.max(x, scene.gutter), x + width, top + height / 2, phase]);
  }

  /** When an execution held its slot: all of it but what it was parked. */
  actives(one, stretches) {
    const found = [];
    let from = this.model.start[one];
    for (let at = 0; at < stretches.length; at += 2) {
      if (stretches[at] > from) found.push([from, stretches[at]]);
      from = stretches[at + 1];
    }
    const end = this.model.until(one, this.now);
    if (end > from) found.push([from, end]);
    return found;
  }

  colour(task) {
    return this.palette.tasks[this.colours(task)];
  }

  paintHatches(context) {
    const pattern = context.createPattern(this.palette.hatch, "repeat");
    for (const [x, y, width, height] of this.hatches) {
      context.fillStyle = this.palette.surface;
      context.fillRect(x, y, width, height);
      context.fillStyle = pattern;
      context.fillRect(x, y, width, height);
      context.strokeStyle = this.palette.muted;
      context.lineWidth = 1;
      context.strokeRect(x + 0.5, y + 0.5, Math.max(width - 1, 1), height - 1);
    }
  }

  paintLabels(context) {
    context.font = this.palette.font;
    context.textBaseline = "middle";
    context.fillStyle = this.palette.onTask;
    for (const [one, x, until, y, phase] of this.labels) {
      if (this.model.parked.has(one)) continue; // its ground is partly pale
      const sign = phase === FAILED ? "✕ " : phase === LOST ? "↻ " : phase === ABORTED ? "⊘ " : "";
      const text = fitted(context, sign + this.model.title(one), Math.min(until, this.scene.width) - x - 10);
      if (text) context.fillText(text, x + 5, y + 0.5);
    }
  }

  outline(context, one, colour, width) {
    const place = this.scene.order.indexOf(this.model.row[one]);
    if (place < 0 || this.model.lane[one] < 0) return;
    const { lanes } = this.model.rows[this.model.row[one]];
    const [top, each] = this.scene.lane(place, this.model.lane[one], lanes.length);
    const x = this.scene.x(this.model.start[one]);
    const until = this.scene.x(this.model.until(one, this.now));
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(x - 1, top - 1, Math.max(until - x, 1) + 2, each + 1);
  }

  names(context, first, last) {
    const { scene, palette, model } = this;
    context.font = palette.font;
    context.textBaseline = "middle";
    if (scene.gutter) {
      context.fillStyle = palette.surface;
      context.fillRect(0, 0, scene.gutter, scene.height);
    }
    for (let place = first; place < last; place += 1) {
      const { replica } = model.rows[scene.order[place]];
      const top = scene.tops[place] - scene.scroll;
      const y = scene.gutter ? top + (scene.tops[place + 1] - scene.tops[place]) / 2 : top + 9;
      context.fillStyle = replica.ended_at === null ? palette.text : palette.muted;
      const room = (scene.gutter || scene.width) - 16;
      const text = replica.ended_at === null ? replica.name : `${replica.name} †`;
      context.fillText(fitted(context, text, room, true), 4, y);
      context.fillStyle = palette.line;
      context.fillRect(0, Math.round(scene.tops[place + 1] - scene.scroll) - 1, scene.width, 1);
    }
  }

  // the axis

  gridlines(context, top, height) {
    const { scene } = this;
    context.fillStyle = this.palette.line;
    for (const time of ticks(scene.from, scene.until, scene.width - scene.gutter).times) context.fillRect(Math.round(scene.x(time)), top, 1, height);
  }

  paintAxis(context) {
    const { scene, palette } = this;
    context.clearRect(0, 0, scene.width, AXIS + DECISIONS);
    context.font = palette.font;
    context.textBaseline = "middle";
    context.fillStyle = palette.muted;
    const { times, digits } = ticks(scene.from, scene.until, scene.width - scene.gutter);
    for (const time of times) {
      const x = Math.round(scene.x(time));
      context.fillRect(x, AXIS - 5, 1, 5);
      const text = clock(time, digits);
      if (x + 4 + context.measureText(text).width < scene.width) context.fillText(text, x + 4, AXIS / 2);
    }
    context.fillRect(scene.gutter, AXIS - 1, scene.width - scene.gutter, 1);
    if (scene.gutter) context.fillText("Scaling", 4, AXIS + DECISIONS / 2);
    context.save();
    context.beginPath();
    context.rect(scene.gutter, AXIS, scene.width - scene.gutter, DECISIONS);
    context.clip();
    this.decisions(context);
    context.restore();
  }

  /** A triangle upwards for more replicas, downwards for fewer; where several share a pixel, one stands for them. */
  decisions(context) {
    const { scene, palette } = this;
    let drawn = -Infinity;
    for (const event of this.model.events) {
      const x = Math.round(scene.x(event.at));
      if (x < scene.gutter - 6 || x > scene.width + 6 || x - drawn < 3) continue;
      drawn = x;
      const { way } = event;
      context.fillStyle = way > 0 ? palette.ok : way < 0 ? palette.accent : palette.muted;
      const middle = AXIS + DECISIONS / 2;
      context.beginPath();
      if (way === 0) context.rect(x - 3, middle - 3, 6, 6);
      else {
        context.moveTo(x, middle - 5 * way);
        context.lineTo(x - 5, middle + 4 * way);
        context.lineTo(x + 5, middle + 4 * way);
      }
      context.fill();
    }
  }
}

/** Of a colour, for a stretch of which this share is filled. */
function strength(share) {
  return share > 0.6 ? 1 : share > 0.25 ? 0.75 : 0.5;
}

const widths = new Map(); // of texts in the one font; measuring is slow

/** As much of a text as a width takes, by its mean letter; `isEnd` keeps its end, which tells replicas apart. */
function fitted(context, text, width, isEnd = false) {
  let whole = widths.get(text);
  if (whole === undefined) widths.set(text, (whole = context.measureText(text).width));
  if (whole <= width) return text;
  const letters = Math.floor((text.length * width) / whole) - 2;
  if (letters < 2) return "";
  return isEnd ? `…${text.slice(text.length - letters)}` : `${text.slice(0, letters)}…`;
}
