// The one stream of events of the whole page, kept up for as long as the page is. Whoever shows something hears of news
// here, of the service's end, and of its return.

import { Gone, stream } from "./api.js";

const SILENCE = 30_000; // the service says something at least every 15 s
const FIRST = 500;
const LONGEST = 8_000;

export class Live {
  /** `hear(event, data)`, `changed()` when `state` has. */
  constructor(hear, changed) {
    this.hear = hear;
    this.changed = changed;
    this.state = "connecting"; // then "up" or "gone"
    this.problem = null;
    this.retryAt = 0;
  }

  async start() {
    let wait = FIRST;
    for (;;) {
      try {
        await this.listen(() => (wait = FIRST));
        this.set("gone", new Gone());
      } catch (error) {
        this.set("gone", error);
        if (error.status === 401 || error.status === 403) return; // until there is a token, nothing is asked again
      }
      this.retryAt = Date.now() + wait;
      this.changed();
      await this.pause(wait);
      wait = Math.min(wait * 2, LONGEST);
    }
  }

  async listen(connected) {
    const stopper = new AbortController();
    let watchdog = 0;
    const heartbeat = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => stopper.abort(), SILENCE);
      if (this.state === "up") return;
      connected();
      this.set("up", null);
    };
    try {
      await stream(["events"], {}, { hear: this.hear, heartbeat, signal: stopper.signal });
    } finally {
      clearTimeout(watchdog);
    }
  }

  set(state, problem) {
    const was = this.state;
    this.state = state;
    this.problem = problem;
    this.changed(was === "gone" && state === "up");
  }

  pause(wait) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.retryNow = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  retryNow() {}
}
