// Wheel, pointers, pinches and keys become pans, zooms and choices of a timeline.

const SLOP = 4; // pixels that a click may wander
const KEYS = {
  ArrowLeft: (line) => line.pan(-0.1),
  ArrowRight: (line) => line.pan(0.1),
  PageUp: (line) => line.pan(-0.8),
  PageDown: (line) => line.pan(0.8),
  ArrowUp: (line) => line.chooseRow(-1),
  ArrowDown: (line) => line.chooseRow(1),
  "+": (line) => line.zoom(0.7),
  "=": (line) => line.zoom(0.7),
  "-": (line) => line.zoom(1 / 0.7),
  0: (line) => line.showAll(),
  Home: (line) => line.showAll(),
  End: (line) => line.toggleFollow(),
  f: (line) => line.toggleFollow(),
  n: (line) => line.chooseNext(1),
  p: (line) => line.chooseNext(-1),
  Enter: (line) => line.openChosen(),
  Escape: (line) => line.unchoose(),
};

export const HELP = "← → move, + − zoom, ↑ ↓ choose a replica's execution, n p the next and previous, Enter opens it, 0 shows all, f follows.";

export class Controls {
  constructor(line, host) {
    this.line = line;
    this.host = host;
    this.pointers = new Map();
    this.moves = 0;
    host.onkeydown = (event) => this.key(event);
    host.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    host.onpointerdown = (event) => this.down(event);
    host.onpointermove = (event) => this.move(event);
    host.onpointerup = (event) => this.up(event);
    host.onpointercancel = (event) => this.pointers.delete(event.pointerId);
    host.onpointerleave = () => line.leave();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act(this.line);
  }

  place(event) {
    const box = this.host.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  /** Up and down zooms; sideways pans; with Shift, and over the names, it scrolls the rows. */
  wheel(event) {
    const [x] = this.place(event);
    if (x < this.line.scene.gutter || event.shiftKey) return;
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.line.pan(event.deltaX / this.line.scene.width);
    else this.line.zoom(Math.exp(Math.max(-120, Math.min(120, event.deltaY)) / (event.ctrlKey ? 80 : 320)), x);
  }

  down(event) {
    if (event.button) return;
    const [x, y] = this.place(event);
    this.pointers.set(event.pointerId, { x, y });
    this.moves = 0;
  }

  move(event) {
    const [x, y] = this.place(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") this.line.hover(x, y);
      return;
    }
    this.moves += Math.abs(x - before.x) + Math.abs(y - before.y);
    if (this.moves < SLOP) return;
    this.host.setPointerCapture(event.pointerId);
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    if (others.length) this.pinch(before, { x, y }, others[0][1]);
    else this.drag(before, { x, y });
    this.pointers.set(event.pointerId, { x, y });
  }

  drag(before, now) {
    const { line } = this;
    if (now.x !== before.x) line.pan((before.x - now.x) / (line.scene.width - line.scene.gutter));
    line.scroller.scrollTop += before.y - now.y;
    line.tip.hidden = true;
  }

  pinch(before, now, other) {
    const apart = (one) => Math.max(8, Math.hypot(one.x - other.x, one.y - other.y));
    this.line.zoom(apart(before) / apart(now), (now.x + other.x) / 2);
  }

  up(event) {
    const wasDown = this.pointers.delete(event.pointerId);
    if (wasDown && this.moves < SLOP && !this.pointers.size) this.line.click(...this.place(event));
  }
}
