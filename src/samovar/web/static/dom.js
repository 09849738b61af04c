// What is on a page, described as plain objects and carried out on the document with as few changes as possible, so that
// focus, selection and scroll positions live through an update every second. Text is set as text and nothing is ever
// parsed as HTML: a task may be called <script>.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "path", "rect", "line", "polyline", "circle", "g", "title", "text"]);
const PROPERTIES = new Set(["value", "checked", "disabled", "open", "selected"]);

/** One element. `props`: attributes, and `key` (who it is among its siblings), `on…` (listeners), `style` (CSS properties),
 *  `mount` (called once with the element, for what draws itself; its children are then its own business). */
export function h(tag, props = {}, ...children) {
  return { tag, props: props ?? {}, children: flat(children) };
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== "");
}

/** Makes the children of `parent` what `wanted` says. */
export function patch(parent, ...wanted) {
  const news = flat(wanted);
  const kept = new Set(news.map((one) => one.props?.key));
  const keyed = new Map();
  for (const node of [...parent.childNodes]) {
    const key = node.was?.props.key;
    if (key === undefined) continue;
    if (kept.has(key)) keyed.set(key, node);
    else node.remove();
  }
  let at = parent.firstChild;
  for (const one of news) {
    const node = fitting(at, one, keyed) ?? made(one, parent);
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
    update(node, one);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function fitting(at, one, keyed) {
  if (typeof one !== "object") return at?.nodeType === Node.TEXT_NODE ? at : null;
  if (one.props.key !== undefined) {
    const known = keyed.get(one.props.key);
    keyed.delete(one.props.key);
    return known?.was.tag === one.tag ? known : null;
  }
  return at?.was?.tag === one.tag && at.was.props.key === undefined ? at : null;
}

function made(one, parent) {
  if (typeof one !== "object") return document.createTextNode("");
  const isDrawn = DRAWN.has(one.tag) && (one.tag !== "title" || parent.namespaceURI === SVG);
  const node = isDrawn ? document.createElementNS(SVG, one.tag) : document.createElement(one.tag);
  node.was = { tag: one.tag, props: {} };
  return node;
}

function update(node, one) {
  if (typeof one !== "object") {
    if (node.data !== String(one)) node.data = String(one);
    return;
  }
  const before = node.was.props;
  for (const name of Object.keys(before)) if (!(name in one.props)) set(node, name, null, before[name]);
  const late = one.tag === "select" ? "value" : ""; // it can only be chosen among options that are there
  for (const [name, value] of Object.entries(one.props)) if (name !== late) set(node, name, value, before[name]);
  if (!one.props.mount) patch(node, one.children);
  if (late && late in one.props && node.value !== one.props.value) node.value = one.props.value;
  const isNew = Boolean(one.props.mount) && !before.mount;
  node.was = { tag: one.tag, props: one.props };
  if (isNew) one.props.mount(node);
}

function set(node, name, value, before) {
  if (name === "key" || name === "mount") return;
  if (name === "style") styled(node, value ?? {}, before ?? {});
  else if (name.startsWith("on")) node[name] = value ?? null;
  else if (PROPERTIES.has(name)) {
    if (name === "value" ? value !== before : node[name] !== value) node[name] = value ?? "";
  } else if (value === before) return;
  else if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}

function styled(node, value, before) {
  for (const name of Object.keys(before)) if (!(name in value)) node.style.removeProperty(name);
  for (const [name, text] of Object.entries(value)) if (text !== before[name]) node.style.setProperty(name, text);
}

/** Says something to those who hear the page; for outcomes of what they did, not for figures that change by themselves. */
export function say(text) {
  document.getElementById("said").textContent = text;
}
