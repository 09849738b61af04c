// What a timeline shows, in typed arrays: a hundred thousand executions take a few megabytes, and a later answer of the
// service is merged into what is there. No drawing here, and no clock.

import { count } from "../format.js";
import { Lane } from "./lanes.js";

export const RUNNING = 0;
export const FAILED = 2;
export const ABORTED = 3;
export const LOST = 4;
export const PHASE_NAMES = ["running", "succeeded", "failed", "aborted", "retried"];

const SCALED = "scaled"; // the change of a pool as a whole
const FIRST_ROOM = 1024;
const ACTIONS = 2 ** 24; // of a run, and attempts at an action: bounds of what one number tells apart
const ATTEMPTS = 2 ** 8;
const MOST_LANES = 128; // of one row; executions beyond them lie over each other

const COLUMNS = {
  start: Float64Array,
  end: Float64Array, // Infinity while it runs
  row: Int32Array,
  task: Int32Array,
  phase: Uint8Array,
  cold: Uint8Array,
  attempt: Int32Array,
  run: Int32Array,
  action: Int32Array,
  members: Int32Array, // more than one: a crowd of short ones of one task, told by the first one's run and action
  busy: Float64Array, // seconds that the members of a crowd took, added up
  lane: Int32Array, // in its row; -1 where its task is hidden
};

/** Names by number, and back. */
class Names {
  constructor() {
    this.all = [];
    this.numbers = new Map();
  }

  number(name) {
    let found = this.numbers.get(name);
    if (found === undefined) {
      found = this.all.push(name) - 1;
      this.numbers.set(name, found);
    }
    return found;
  }
}

/** The executions of one replica, in as many lanes as it had side by side. */
class Row {
  constructor(replica) {
    this.replica = replica;
    this.items = []; // by start
    this.lanes = [];
    this.isSorted = true;
  }
}

export class Model {
  constructor() {
    this.count = 0; // bars
    this.executions = 0; // of all bars
    this.room = FIRST_ROOM;
    for (const [name, Kind] of Object.entries(COLUMNS)) this[name] = new Kind(this.room);
    this.tasks = new Names();
    this.runs = new Names();
    this.replicas = new Names();
    this.rows = [];
    this.parked = new Map(); // execution → [start, end, start, end, …]
    this.events = [];
    this.heardUntil = -Infinity;
    this.wanted = 0; // replicas, after the last event that scaled the pool
    this.hidden = new Set(); // numbers of tasks
    this.known = new Map(); // run, action and attempt → execution
    this.first = Infinity;
    this.now = 0;
    this.dropped = 0;
    this.version = 0; // grows with each change
  }

  // taking in what the service says

  merge(answer) {
    this.now = answer.now;
    this.dropped = answer.dropped ?? 0;
    const rows = answer.replicas.map((replica) => this.mergeReplica(replica));
    const executions = this.mergeExecutions(answer, rows);
    this.mergeParked(answer.parked, executions);
    this.mergeEvents(answer.events ?? []);
    for (const row of this.rows) if (!row.isSorted) this.relane(row);
    this.version += 1;
  }

  mergeReplica(replica) {
    const number = this.replicas.number(replica.name);
    this.rows[number] ??= new Row(replica);
    this.rows[number].replica = replica;
    if (replica.starting_at !== null) this.first = Math.min(this.first, replica.starting_at);
    return number;
  }

  mergeExecutions({ executions: all, tasks, runs }, rows) {
    const taskNumbers = tasks.map((name) => this.tasks.number(name));
    const runNumbers = runs.map((name) => this.runs.number(name));
    const order = byStart(all.start);
    const found = new Int32Array(all.start.length);
    for (const at of order) {
      const run = runNumbers[all.run[at]];
      const key = (run * ACTIONS + all.action[at]) * ATTEMPTS + all.attempt[at];
      let one = this.known.get(key);
      const isNew = one === undefined;
      if (isNew) {
        one = this.add();
        this.known.set(key, one);
      }
      this.start[one] = all.start[at];
      this.end[one] = all.end[at] ?? Infinity;
      this.row[one] = rows[all.row[at]];
      this.task[one] = taskNumbers[all.task[at]];
      this.phase[one] = all.phase[at];
      this.cold[one] = all.cold[at];
      this.attempt[one] = all.attempt[at];
      this.run[one] = run;
      this.action[one] = all.action[at];
      this.executions += all.members[at] - this.members[one];
      this.members[one] = all.members[at];
      this.busy[one] = all.busy[at];
      if (isNew) this.place(one);
      else this.touch(one);
      found[at] = one;
    }
    return found;
  }

  mergeParked(parked, executions) {
    const fresh = new Map();
    for (let at = 0; at < (parked?.start.length ?? 0); at += 1) {
      const one = executions[parked.execution[at]];
      if (!fresh.has(one)) fresh.set(one, []);
      fresh.get(one).push(parked.start[at], parked.end[at] ?? Infinity);
    }
    for (const [one, stretches] of fresh) this.parked.set(one, stretches);
  }

  /** Those that have a reason: the others are to be seen in the rows. A later answer has known ones again. */
  mergeEvents(events) {
    for (const event of events) {
      if (event.at <= this.heardUntil) continue;
      const way = direction(event, this.wanted);
      if (event.change === SCALED) this.wanted = event.replicas;
      if (event.reason) this.events.push({ ...event, way });
    }
    this.heardUntil = Math.max(this.heardUntil, ...events.map((event) => event.at));
  }

  add() {
    if (this.count === this.room) {
      this.room *= 2;
      for (const [name, Kind] of Object.entries(COLUMNS)) {
        const larger = new Kind(this.room);
        larger.set(this[name]);
        this[name] = larger;
      }
    }
    return this.count++;
  }

  place(one) {
    const row = this.rows[this.row[one]];
    const last = row.items.at(-1);
    if (last !== undefined && this.start[last] > this.start[one]) row.isSorted = false;
    row.items.push(one);
    this.first = Math.min(this.first, this.start[one]);
    if (row.isSorted) this.enlane(row, one);
  }

  touch(one) {
    if (this.lane[one] >= 0) this.rows[this.row[one]].lanes[this.lane[one]]?.touch(one);
  }

  // lanes

  enlane(row, one) {
    this.lane[one] = -1;
    if (this.hidden.has(this.task[one])) return;
    const start = this.start[one];
    let at = 0;
    while (at < row.lanes.length && !row.lanes[at].isFree(start)) at += 1;
    if (at === row.lanes.length) {
      if (at < MOST_LANES) row.lanes.push(new Lane(this));
      else at -= 1;
    }
    this.lane[one] = at;
    row.lanes[at].push(one);
  }

  relane(row) {
    row.items.sort((one, other) => this.start[one] - this.start[other]);
    row.isSorted = true;
    row.lanes = [];
    for (const one of row.items) this.enlane(row, one);
  }

  hide(hidden) {
    this.hidden = hidden;
    for (const row of this.rows) this.relane(row);
    this.version += 1;
  }

  // questions

  /** Until when an execution goes, on a clock that says `now`. */
  until(one, now) {
    return Math.min(this.end[one], Math.max(now, this.start[one]));
  }

  title(one) {
    const task = this.tasks.all[this.task[one]];
    return this.members[one] > 1 ? `${task} × ${count(this.members[one])}` : task;
  }

  /** Which share of its bar an execution fills: all of it, unless it is a crowd with gaps. */
  share(one) {
    return this.members[one] > 1 ? Math.min(1, this.busy[one] / (this.end[one] - this.start[one])) : 1;
  }

  /** How many executions a row has had. */
  size(row) {
    return this.rows[row].items.reduce((sum, one) => sum + this.members[one], 0);
  }

  /** The execution of a row's lane at a time, or the nearest one; -1 if there is none within `slack` seconds. */
  at(row, lane, time, slack, now) {
    const [best, distance] = this.nearest(this.rows[row].lanes.slice(lane, lane + 1), time, now);
    return distance <= slack ? best : -1;
  }

  /** The execution of a row that is nearest to a time, whatever its lane; -1 if the row has none. */
  near(row, time, now) {
    return this.nearest(this.rows[row].lanes, time, now)[0];
  }

  nearest(lanes, time, now) {
    let best = -1;
    let distance = Infinity;
    for (const one of lanes.flatMap((lane) => lane.nearest(time))) {
      const off = Math.max(this.start[one] - time, time - this.until(one, now), 0);
      if (off < distance) [best, distance] = [one, off];
    }
    return [best, distance];
  }

  /** Figures of each task: how many, how many failed, and how long the middle one, the slow ones and the longest took. */
  byTask(now) {
    const lengths = this.tasks.all.map(() => []);
    const counts = new Int32Array(this.tasks.all.length);
    const failed = new Int32Array(this.tasks.all.length);
    for (let one = 0; one < this.count; one += 1) {
      const task = this.task[one];
      const members = this.members[one];
      lengths[task].push([members > 1 ? this.busy[one] / members : this.until(one, now) - this.start[one], members]);
      counts[task] += members;
      if (this.phase[one] === FAILED) failed[task] += 1;
    }
    return lengths.map((all, task) => {
      all.sort(([one], [other]) => one - other);
      const at = ranked(all, counts[task]);
      return { task: this.tasks.all[task], count: counts[task], failed: failed[task], middle: at(0.5), slow: at(0.95), longest: at(1) };
    });
  }
}

/** The value that this share of all lies below, of values with their numbers in ascending order; asked for growing shares. */
function ranked(values, count) {
  let place = 0;
  let below = 0;
  return (share) => {
    const wanted = Math.min(count - 1, Math.floor(count * share));
    while (place < values.length && below + values[place][1] <= wanted) below += values[place++][1];
    return values[place]?.[0] ?? null;
  };
}

/** 1 for a decision that adds replicas, -1 for one that takes some away, 0 for any other. */
function direction({ change, replicas }, before) {
  if (change === SCALED) return Math.sign(replicas - before);
  return { starting: 1, stopping: -1, lost: -1, closed: -1 }[change] ?? 0;
}

/** Indexes by ascending start; most answers are sorted already. */
function byStart(start) {
  const order = Int32Array.from(start, (_, at) => at);
  for (let at = 1; at < start.length; at += 1) if (start[at] < start[at - 1]) return order.sort((one, other) => start[one] - start[other]);
  return order;
}
