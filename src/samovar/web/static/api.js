// The way to the service: JSON, problems as errors with something to do, and streams of events. Paths are relative to the
// page, so the pages work below a prefix too. A token is kept for as long as the tab, and sent as a header.

const BASE = "api/v1/";
const TOKEN = "samovar-token";
const AGAIN = 300; // ms

export class Problem extends Error {
  constructor(title, detail, status) {
    super(detail || title);
    this.title = title;
    this.detail = detail;
    this.status = status;
  }
}

/** The service does not answer: it has ended, or the way to it is cut. */
export class Gone extends Problem {
  constructor() {
    super("The service does not answer", "It has ended, or cannot be reached. `samovar status` says whether it is up; `samovar start` starts it.", 0);
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  keep: (text) => sessionStorage.setItem(TOKEN, text.trim()),
};

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const headers = (more = {}) => (token.get() ? { ...more, Authorization: `Bearer ${token.get()}` } : more);

/** A path below the base, each part escaped, and a query without what is empty. */
export function path(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const asked = new URLSearchParams(given).toString();
  return BASE + parts.map(encodeURIComponent).join("/") + (asked ? `?${asked}` : "");
}

async function fetched(url, options) {
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone();
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Problem(said.title ?? `The service answered ${answer.status}`, said.detail ?? "Its log says more.", answer.status);
}

/** Asked twice where nothing answers: a network that changes cuts off whoever is about to connect. */
export async function get(parts, query, signal) {
  const ask = () => fetched(path(parts, query), { headers: headers(), signal });
  const answer = await ask().catch(async (error) => {
    if (!(error instanceof Gone)) throw error;
    await pause(AGAIN);
    return ask();
  });
  return answer.json();
}

export async function post(parts, body) {
  const options = { method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body ?? {}) };
  const answer = await fetched(path(parts), options);
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

/** Calls `hear(event, data, id)` for each event until the stream ends or `signal` ends it; `heartbeat` for any sign of life. */
export async function stream(parts, query, { hear, heartbeat = () => {}, signal }) {
  const answer = await fetched(path(parts, query), { headers: headers({ Accept: "text/event-stream" }), signal, cache: "no-store" });
  heartbeat();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heartbeat();
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) dispatch(block, hear);
    }
  } catch (error) {
    if (signal?.aborted) return;
    throw error instanceof TypeError ? new Gone() : error;
  } finally {
    reader.cancel().catch(() => {}); // whoever hears may have failed: a browser has few connections, and this one is over
  }
}

function dispatch(block, hear) {
  let event = "message";
  let id = "";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("id:")) id = line.slice(3).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  if (data.length) hear(event, JSON.parse(data.join("\n")), id);
}
