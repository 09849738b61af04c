// The shell: which page the address means, the stream of events, the theme, the banner while the service is away, and the
// token where one is asked for. A page is an object with `title`, `load()` (asks for what it shows), `view()` (what that
// looks like), and where it needs them `hear(event, data)`, `tick()` (once a second) and `stop()`.

import { Gone, get, token } from "./api.js";
import { ask } from "./dialog.js";
import { h, patch } from "./dom.js";
import { Live } from "./live.js";
import { problem } from "./parts.js";
import { ActionPage } from "./pages/action.js";
import { PoolPage } from "./pages/pool.js";
import { PoolsPage } from "./pages/pools.js";
import { ReplicaPage } from "./pages/replica.js";
import { RunPage } from "./pages/run.js";
import { RunsPage } from "./pages/runs.js";

const ROUTES = [
  [["pools"], PoolsPage],
  [["pools", null], PoolPage],
  [["runs"], RunsPage],
  [["runs", null], RunPage],
  [["runs", null, null], ActionPage],
  [["replicas", null], ReplicaPage],
];

class Unknown {
  title = "Not found";

  async load() {}

  view() {
    return problem({ title: "There is no such page", detail: "The address names none. Pools and Runs, above, lead to all of them." });
  }
}

class App {
  constructor() {
    this.page = null;
    this.problem = null;
    this.isLoading = true;
    this.skew = 0; // of the service's clock to ours
    this.service = null;
    this.isDrawing = false;
    this.live = new Live((event, data) => this.hear(event, data), (isBack) => this.stateChanged(isBack));
  }

  start() {
    window.addEventListener("hashchange", () => this.open());
    setInterval(() => this.tick(), 1000);
    document.querySelector(".skip").onclick = (event) => {
      event.preventDefault(); // the hash is the route
      document.getElementById("main").focus();
    };
    themeButton();
    this.open();
    this.live.start();
    this.greet();
  }

  /** Seconds since 1970 on the service's clock. */
  now() {
    return Date.now() / 1000 + this.skew;
  }

  // routes

  open() {
    const { parts, query } = where();
    if (this.page && same(parts, this.parts)) {
      this.page.turn?.(query);
      return;
    }
    this.page?.stop?.();
    this.parts = parts;
    const Page = ROUTES.find(([shape]) => fits(shape, parts))?.[1] ?? Unknown;
    this.page = new Page(this, parts.slice(1), query);
    this.problem = null;
    this.isLoading = true;
    document.title = `${this.page.title} – samovar`;
    for (const one of document.querySelectorAll("[data-place]")) {
      if (one.dataset.place === parts[0]) one.setAttribute("aria-current", "page");
      else one.removeAttribute("aria-current");
    }
    patch(document.getElementById("main"), h("p", { class: "loading" }, "Loading …"));
    if (this.hasOpened) {
      window.scrollTo(0, 0);
      document.getElementById("main").focus({ preventScroll: true });
    }
    this.hasOpened = true;
    this.load();
  }

  /** Changes the query of this page in the address: filters can be shared, and "back" works. */
  query(changes, isReplacing = false) {
    const { parts, query } = where();
    const wanted = Object.entries({ ...query, ...changes }).filter(([, value]) => value);
    const asked = new URLSearchParams(wanted).toString();
    const address = `#/${parts.map(encodeURIComponent).join("/")}${asked ? `?${asked}` : ""}`;
    if (isReplacing) {
      history.replaceState(null, "", address);
      this.page.turn?.(where().query);
    } else location.hash = address;
  }

  async load() {
    const page = this.page;
    try {
      await page.load();
      if (page !== this.page) return;
      this.problem = null;
    } catch (error) {
      if (page !== this.page || error.name === "AbortError") return;
      this.problem = error;
      if (error.status === undefined) console.error(error);
      if (error.status === 401) this.askForToken();
    }
    this.isLoading = false;
    this.draw();
  }

  // what happens

  hear(event, data) {
    if (this.isLoading) return;
    this.page.hear?.(event, data);
    this.draw();
  }

  tick() {
    this.banner();
    if (this.isLoading || document.hidden) return;
    if (this.problem instanceof Gone && this.live.state === "up") {
      this.isLoading = true; // it was the way alone; the problem is shown until it has come
      this.load();
    }
    if (this.problem) return;
    this.page.tick?.();
    this.draw();
  }

  stateChanged(isBack) {
    this.banner();
    if (this.live.problem?.status === 401) this.askForToken();
    if (!isBack) return;
    this.greet();
    this.load();
  }

  async greet() {
    try {
      this.service = await get(["service"]);
      this.skew = this.service.now - Date.now() / 1000;
    } catch {
      this.service = null; // the banner says so
    }
    const { service } = this;
    const journal = service?.journal?.trouble ? ` · journal: ${service.journal.trouble}` : "";
    const text = service ? `${service.version} · ${service.driver}${journal}` : "";
    patch(document.getElementById("service"), h("span", { class: "dot dot-up", "aria-hidden": "true" }), text);
    this.banner();
  }

  async askForToken() {
    if (this.isAsking) return;
    this.isAsking = true;
    const field = { name: "token", label: "Token", type: "password", value: "", hint: "`samovar token` on the service's machine makes one" };
    const text = "This service is open to other machines, so it asks who comes. The token is kept until this tab is closed.";
    const isGiven = await ask({ title: "A token is needed", text, fields: [field], action: "Use it", submit: async (values) => token.keep(values.token) });
    this.isAsking = false;
    if (isGiven) location.reload();
  }

  // what is seen

  draw() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => {
      this.isDrawing = false;
      this.paint();
    });
  }

  paint() {
    if (this.isLoading) return;
    const main = document.getElementById("main");
    try {
      document.title = `${this.page.title} – samovar`;
      patch(main, this.problem ? problem(this.problem, () => this.load()) : this.page.view());
    } catch (error) {
      console.error(error);
      patch(main, problem(error, () => location.reload()));
    }
  }

  banner() {
    const isGone = this.live.state === "gone";
    document.documentElement.classList.toggle("is-gone", isGone);
    const host = document.getElementById("banner");
    if (!isGone) return patch(host);
    const seconds = Math.max(0, Math.ceil((this.live.retryAt - Date.now()) / 1000));
    patch(
      host,
      h("p", {}, h("b", {}, this.live.problem.title), ` ${this.live.problem.detail ?? ""} What you see is from before.`),
      h("p", { class: "again" }, h("span", { "aria-hidden": "true" }, seconds ? `Trying again in ${seconds} s` : "Trying again …"), h("button", { type: "button", onclick: () => this.live.retryNow() }, "Try now")),
    );
    return undefined;
  }
}

function where() {
  const [address, asked = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = (address || "pools").split("/").map(decode);
  return { parts, query: Object.fromEntries(new URLSearchParams(asked)) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a stray % of somebody's own
  }
}

const fits = (shape, parts) => shape.length === parts.length && shape.every((part, at) => part === null || part === parts[at]);
const same = (one, other) => one?.length === other?.length && one.every((part, at) => part === other[at]);

function themeButton() {
  const theme = window.samovarTheme;
  const element = document.getElementById("theme");
  const show = () => (element.textContent = `Theme: ${theme.chosen}`);
  element.onclick = () => {
    theme.choose(theme.choices[(theme.choices.indexOf(theme.chosen) + 1) % theme.choices.length]);
    show();
    window.dispatchEvent(new Event("samovar-theme"));
  };
  show();
}

new App().start();
