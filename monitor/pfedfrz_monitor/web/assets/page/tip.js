// One small note beside the pointer or the focused cell.
import { by, element } from "./dom.js";

const tip = by("tip");

export function showTip(x, y, title, rows) {
  tip.replaceChildren(element("strong", {}, title),
    ...rows.filter(Boolean).map(([name, value]) => value === undefined
      ? element("p", {}, name)
      : element("div", {}, element("span", {}, name), element("span", {}, value))));
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tip;
  const left = x + 16 + width > innerWidth - 8 ? x - width - 14 : x + 16;
  const top = Math.min(innerHeight - height - 8, Math.max(8, y - height / 2));
  tip.style.transform = `translate(${Math.max(8, Math.round(left))}px, ${Math.round(top)}px)`;
}

export function hideTip() { tip.hidden = true; }
addEventListener("scroll", hideTip, { passive: true, capture: true });
