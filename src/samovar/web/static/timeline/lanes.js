// Executions that follow each other on one replica, none over another. Because they do, what lies in a stretch of time is
// found by halving, and sums over a stretch are two look-ups: that is what keeps a hundred thousand bars fluid.

const FIRST_ROOM = 16;

export class Lane {
  constructor(model) {
    this.model = model;
    this.items = new Int32Array(FIRST_ROOM);
    this.length = 0;
    this.busy = new Float64Array(FIRST_ROOM + 1); // seconds of all before this one
    this.failed = new Int32Array(FIRST_ROOM + 1); // how many of all before this one failed
    this.clean = 0; // up to where the sums hold
  }

  isFree(time) {
    return this.length === 0 || this.model.end[this.items[this.length - 1]] <= time;
  }

  push(one) {
    if (this.length === this.items.length) this.grow();
    this.items[this.length] = one;
    this.length += 1;
  }

  grow() {
    const larger = (old, Kind, room) => {
      const made = new Kind(room);
      made.set(old);
      return made;
    };
    const room = this.items.length * 2;
    this.items = larger(this.items, Int32Array, room);
    this.busy = larger(this.busy, Float64Array, room + 1);
    this.failed = larger(this.failed, Int32Array, room + 1);
  }

  /** An execution has ended, or failed: sums after it are made again when they are asked for. */
  touch(one) {
    this.clean = Math.min(this.clean, Math.max(0, this.after(this.model.start[one]) - 1));
  }

  /** How many start at or before `time`: the number of the first that starts later. */
  after(time, low = 0) {
    const { items, model } = this;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (model.start[items[middle]] <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The number of the first that has not ended by `time`. */
  first(time) {
    const before = this.after(time) - 1;
    return before >= 0 && this.model.end[this.items[before]] > time ? before : before + 1;
  }

  /** What is next to a time: at most one before it and one after it. */
  nearest(time) {
    const at = this.after(time);
    return [at - 1, at].filter((each) => each >= 0 && each < this.length).map((each) => this.items[each]);
  }

  sum(now) {
    const { model, items, busy, failed } = this;
    for (let at = this.clean; at < this.length; at += 1) {
      const one = items[at];
      busy[at + 1] = busy[at] + (model.until(one, now) - model.start[one]) * model.share(one);
      failed[at + 1] = failed[at] + (model.phase[one] === 2 ? 1 : 0);
    }
    const last = this.length - 1;
    this.clean = last >= 0 && model.end[items[last]] === Infinity ? last : this.length;
  }
}
