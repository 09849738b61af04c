// Where what is drawn: time to pixels, rows to heights, and which of them are in sight. More rows than fit are scrolled;
// those out of sight cost nothing.

const LEAST = 26;
const MOST = 132;
const A_LANE = [7, 18]; // pixels, by how many lanes share the room
const ROOM = 400;
const PADDING = 6;
const NAME = 15; // height of a replica's name where there is no room beside its row
const NARROW = 640;

export class Scene {
  constructor(model) {
    this.model = model;
    this.from = 0;
    this.until = 60;
    this.width = 800;
    this.height = 320;
    this.scroll = 0;
    this.order = []; // numbers of the rows that are shown, from above
    this.tops = new Float64Array(1);
    this.isEndedShown = true;
  }

  get gutter() {
    return this.width < NARROW ? 0 : 176;
  }

  get nameHeight() {
    return this.gutter ? 0 : NAME;
  }

  get scale() {
    return (this.width - this.gutter) / (this.until - this.from);
  }

  x(time) {
    return this.gutter + (time - this.from) * this.scale;
  }

  time(x) {
    return this.from + (x - this.gutter) / this.scale;
  }

  /** Heights, anew after rows or lanes have come. */
  arrange() {
    const { rows } = this.model;
    this.order = rows.map((_, at) => at).filter((at) => this.isEndedShown || rows[at].replica.ended_at === null);
    this.order.sort((one, other) => rows[one].replica.starting_at - rows[other].replica.starting_at);
    const lanes = this.order.reduce((sum, row) => sum + Math.max(1, rows[row].lanes.length), 0);
    this.aLane = Math.min(A_LANE[1], Math.max(A_LANE[0], (ROOM - PADDING * this.order.length) / lanes));
    this.tops = new Float64Array(this.order.length + 1);
    this.order.forEach((row, at) => (this.tops[at + 1] = this.tops[at] + this.rowHeight(rows[row])));
  }

  rowHeight(row) {
    return Math.min(MOST, Math.max(LEAST, PADDING + row.lanes.length * this.aLane)) + this.nameHeight;
  }

  get total() {
    return this.tops[this.order.length];
  }

  /** Places of the rows in sight: [from, until). */
  inSight() {
    const first = Math.max(0, this.place(this.scroll));
    let last = first;
    while (last < this.order.length && this.tops[last] < this.scroll + this.height) last += 1;
    return [first, last];
  }

  /** The place of the row at a height of the whole; past the end, the number of rows. */
  place(y) {
    let low = 0;
    let high = this.order.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.tops[middle + 1] <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Top and height of one lane of the row at a place, in the canvas. */
  lane(place, number, lanes) {
    const height = this.tops[place + 1] - this.tops[place] - PADDING - this.nameHeight;
    const each = height / Math.max(lanes, 1);
    return [this.tops[place] - this.scroll + this.nameHeight + PADDING / 2 + each * number, each];
  }

  /** Which row and lane lie under a point of the canvas; null where none does. */
  under(y) {
    const place = this.place(y + this.scroll);
    if (place >= this.order.length) return null;
    const row = this.order[place];
    const lanes = this.model.rows[row].lanes.length;
    const [top, each] = this.lane(place, 0, lanes);
    return { place, row, lane: Math.min(Math.max(0, Math.floor((y - top) / each)), Math.max(0, lanes - 1)) };
  }
}

const STEPS = [1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
const APART = 92; // pixels from label to label

/** Times to label, and how many digits of a second they need. */
export function ticks(from, until, width) {
  const wanted = ((until - from) / Math.max(width, 1)) * APART;
  const step = STEPS.find((one) => one >= wanted) ?? STEPS.at(-1);
  const times = [];
  const zone = new Date(from * 1000).getTimezoneOffset() * 60;
  for (let time = Math.ceil((from - zone) / step) * step + zone; time < until; time += step) times.push(time);
  return { times, digits: step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3 };
}
