// The lines that tasks wrote: those that are there, and then each as it comes. It draws itself, since thousands of lines
// are only added to.

import { Gone, get, pause, stream } from "./api.js";
import { clock, many } from "./format.js";

const FIRST = 1000;
const MOST = 5000; // lines kept on the page; older ones go
const AGAIN = 1000; // ms before a service that was away is asked again
const FRAME = 50;
const LOADING = "loading …";

export class Logs {
  /** `action`: of this one alone, "" for the whole run. */
  constructor(run, action = "") {
    this.run = run;
    this.action = action;
    this.stopper = new AbortController();
    this.text = "";
    this.isFollowing = true;
    this.total = 0;
    this.waiting = []; // lines that have come and are not shown yet
  }

  mount(host) {
    this.find = element("input", { type: "search", placeholder: "only lines with …", "aria-label": "Only lines with" });
    this.find.oninput = () => this.filter(this.find.value);
    this.status = element("span", { class: "small" });
    this.end = element("button", { type: "button", class: "quiet" }, "To the end");
    this.end.onclick = () => this.toEnd();
    const bar = element("div", { class: "log-bar" });
    bar.append(this.find, this.status, this.end);
    this.lines = element("div", { class: "log", role: "log", "aria-live": "off", tabindex: "0", "aria-label": "Log" });
    this.lines.onscroll = () => (this.isFollowing = this.lines.scrollTop + this.lines.clientHeight > this.lines.scrollHeight - 24);
    host.append(bar, this.lines);
    this.follow();
  }

  stop() {
    this.stopper.abort();
  }

  async follow() {
    const { signal } = this.stopper;
    let cursor = "";
    while (!signal.aborted) {
      try {
        this.say(LOADING);
        const isFirst = cursor === "";
        const answer = await get(["runs", this.run, "logs"], { action: this.action, tail: isFirst ? FIRST : "", after: cursor, limit: FIRST }, signal);
        this.add(answer.lines);
        cursor = answer.next || cursor;
        if (!answer.is_last) continue;
        let isOver = false;
        const hear = (event, line, id) => {
          cursor = id || cursor;
          if (event === "line") this.soon(line);
          if (event === "end") isOver = true;
        };
        const heartbeat = () => this.say("live");
        await stream(["runs", this.run, "logs", "stream"], { action: this.action, after: cursor }, { hear, heartbeat, signal });
        if (isOver) return this.say("");
      } catch (error) {
        if (signal.aborted) return undefined;
        this.say(error instanceof Gone ? "the service does not answer" : error.message, true);
        if (error.status >= 400 && error.status < 500) return undefined;
      }
      await pause(AGAIN);
    }
    return undefined;
  }

  /** Lines that come one by one are shown a frame at a time. */
  soon(line) {
    if (this.waiting.push(line) > 1) return;
    setTimeout(() => this.add(this.waiting.splice(0)), FRAME);
  }

  add(lines) {
    const batch = document.createDocumentFragment();
    for (const line of lines) batch.append(this.row(line));
    this.total += lines.length;
    this.lines.append(batch);
    while (this.lines.childElementCount > MOST) this.lines.firstElementChild.remove();
    if (this.isFollowing) this.toEnd();
    this.say(this.state);
  }

  row({ at, task, number, stream: where, text, action }) {
    const row = element("p", { class: `line line-${where}` });
    row.append(element("time", {}, clock(at, 3)));
    if (!this.action) {
      const who = element("a", { href: `#/runs/${encodeURIComponent(this.run)}/${encodeURIComponent(action)}` }, `${task}${number === null || number === undefined ? "" : ` ${number}`}`);
      row.append(who);
    }
    if (where === "stderr") row.append(element("b", { class: "err", title: "written to stderr" }, "err"));
    row.append(element("span", {}, text.replace(/\n$/, "")));
    row.hidden = !this.fits(row);
    return row;
  }

  fits(row) {
    return !this.text || row.textContent.toLowerCase().includes(this.text);
  }

  filter(text) {
    this.text = text.toLowerCase();
    for (const row of this.lines.children) row.hidden = !this.fits(row);
    if (this.isFollowing) this.toEnd();
    this.say(this.state);
  }

  toEnd() {
    this.lines.scrollTop = this.lines.scrollHeight;
    this.isFollowing = true;
  }

  say(state, isTrouble = false) {
    this.state = state;
    const shown = this.total ? many(this.total, "line") : state === LOADING ? "" : state ? "nothing was written yet" : "nothing was written";
    this.lines.hidden = !this.total;
    this.status.textContent = [shown, state].filter(Boolean).join(" · ");
    this.status.classList.toggle("failed-text", isTrouble);
  }
}

function element(tag, attributes = {}, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}
