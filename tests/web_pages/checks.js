// What is wrong with the page as it stands: a list of sentences. Run in the page by looks.py.
() => {
  const wrong = [];
  const pixel = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const colours = new Map();
  const rgba = (colour) => {
    if (!colours.has(colour)) colours.set(colour, read(colour));
    return colours.get(colour);
  };
  const read = (colour) => {
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = colour;
    pixel.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (above, below) => above.slice(0, 3).map((value, at) => value * above[3] + below[at] * (1 - above[3]));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const grounds = new Map();
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    if (!grounds.has(element)) grounds.set(element, over(rgba(getComputedStyle(element).backgroundColor), ground(element.parentElement)));
    return grounds.get(element);
  };
  const isSeen = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && !element.closest(".unseen, .skip:not(:focus)");
  const name = (element) => `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> ${element.textContent.trim().slice(0, 40)}`;

  // contrast of text
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const element = text.parentElement;
    if (!text.data.trim() || !isSeen(element) || element.closest("noscript, script, option")) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const [light, dark] = [luminance(over(rgba(style.color), below)), luminance(below)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < needed) wrong.push(`contrast ${ratio.toFixed(2)} of ${name(element)}`);
    if (size < 12) wrong.push(`text of ${size} px: ${name(element)}`);
  }

  // names of controls and pictures
  for (const element of document.querySelectorAll("a, button, input, select, summary, [role=img], img, dialog")) {
    if (!isSeen(element)) continue;
    const labelled = element.getAttribute("aria-labelledby");
    const said = labelled ? document.getElementById(labelled)?.textContent : (element.getAttribute("aria-label") ?? element.getAttribute("alt") ?? element.labels?.[0]?.textContent ?? element.textContent);
    const isDecoration = element.tagName === "IMG" && element.getAttribute("alt") === "";
    if (!isDecoration && !said?.trim()) wrong.push(`no name: ${name(element)}`);
  }
  for (const element of document.querySelectorAll("[tabindex='0']")) {
    if (isSeen(element) && !element.getAttribute("aria-label") && !element.textContent.trim()) wrong.push(`no name, but a stop for Tab: ${name(element)}`);
  }

  // structure
  const heads = [...document.querySelectorAll("h1")].filter(isSeen);
  if (heads.length !== 1) wrong.push(`${heads.length} h1`);
  for (const table of document.querySelectorAll("table")) if (!table.caption || !table.querySelector("th[scope=col]")) wrong.push(`a table without caption or heads: ${name(table)}`);
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) wrong.push(`two elements with the id ${id}`);

  // nothing sticks out to the side
  const off = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (off > 0) wrong.push(`the page is ${off} px too wide`);
  for (const element of document.querySelectorAll("button, h1, h2, .figure dd")) {
    if (isSeen(element) && element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0 && getComputedStyle(element).display !== "inline") wrong.push(`cut off: ${name(element)}`);
  }

  // nothing came from elsewhere, nothing was parsed
  if (document.querySelector("main script, main style, main [style*='javascript']")) wrong.push("something was parsed as HTML");
  return wrong;
}
