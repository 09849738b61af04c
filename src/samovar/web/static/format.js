// Figures as people read them. Times come as seconds since 1970.

const whole = new Intl.NumberFormat("en");

export const count = (n) => (n === null || n === undefined ? "–" : whole.format(n));

export function many(n, noun, plural = `${noun}s`) {
  return `${count(n)} ${n === 1 ? noun : plural}`;
}

/** A rate or a share: three digits that mean something. */
export function short(n) {
  if (n === null || n === undefined) return "–";
  if (n >= 1e6) return `${(n / 1e6).toFixed(1)} M`;
  if (n >= 1e4) return `${(n / 1e3).toFixed(n >= 1e5 ? 0 : 1)} k`;
  if (n >= 100) return whole.format(Math.round(n));
  if (n >= 10) return n.toFixed(Number.isInteger(n) ? 0 : 1);
  return n === 0 ? "0" : n.toFixed(Number.isInteger(n) ? 0 : n >= 1 ? 1 : 2);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0) return duration(0);
  if (seconds === 0) return "0 s";
  if (seconds < 1e-3) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${seconds < 0.01 ? (seconds * 1e3).toFixed(1) : Math.round(seconds * 1e3)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (seconds < 3570) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    at += 1;
  }
  return `${n >= 100 || at === 0 ? Math.round(n) : n.toFixed(1)} ${units[at]}`;
}

export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const hundred = share * 100;
  return `${hundred > 0 && hundred < 10 ? hundred.toFixed(1) : Math.round(hundred)} %`;
}

const pad = (n, width = 2) => String(n).padStart(width, "0");

/** The time of day; the day too when it is not today. `digits`: of the fraction of a second. */
export function clock(at, digits = 0, today = new Date()) {
  if (at === null || at === undefined) return "–";
  const date = new Date(at * 1000);
  const fraction = digits ? `.${pad(date.getMilliseconds(), 3).slice(0, digits)}` : "";
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}${fraction}`;
  return date.toDateString() === today.toDateString() ? time : `${day(date)} ${time}`;
}

function day(date) {
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

/** Of actions, in the order of their lives. */
export const PHASES = ["queued", "waiting", "running", "succeeded", "failed", "aborted", "timed_out"];

const SETTLED = new Set(["succeeded", "failed", "aborted", "timed_out"]);

export const isSettled = (phase) => SETTLED.has(phase);

export const phaseName = (phase) => String(phase).replaceAll("_", " ");
