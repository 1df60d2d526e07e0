// What happened, newest first.
import { by, element } from "./dom.js";
import { clock } from "./format.js";
import { display, store } from "./store.js";
import { panel } from "./view.js";

const where = by("log");
const GLYPHS = { round: "●", device: "○", rejected: "✕", failed: "▲", opposes: "◆", "kept-out": "◆", control: "■" };
const SHOWN = 120;
let newest = 0;

function line([serial, at, kind, text, device]) {
  const name = device ? display({ name: device }) : "";
  return element("li", { class: kind, "data-serial": serial }, element("time", {}, clock(at)),
    element("span", { class: "glyph", "aria-hidden": "true" }, GLYPHS[kind] ?? "○"),
    element("p", {}, name ? element("b", {}, `${name} `) : null, text));
}

function draw() {
  if (!store.log.length) { newest = 0; where.replaceChildren(element("li", { class: "empty" }, "Nothing has happened yet.")); return; }
  if ((store.log.at(-1)[0] < newest) || !where.querySelector("[data-serial]")) { newest = 0; where.replaceChildren(); }
  const fresh = store.log.filter((entry) => entry[0] > newest).slice(-SHOWN);
  newest = store.log.at(-1)[0];
  where.prepend(...fresh.reverse().map(line));
  while (where.children.length > SHOWN) where.lastElementChild.remove();
}

panel(where, ["log"], draw);
