// Why updates were rejected and messages not believed: by reason, and the last ones in words.
import { by, element } from "./dom.js";
import { count } from "./format.js";
import { CELL, FAILED, REJECTED, closedRounds, display, store } from "./store.js";
import { panel } from "./view.js";

const where = by("reasons");
const NO_FAULT = new Set(["late", "duplicate", "not-selected"]);

function bars(entries, kind) {
  const most = Math.max(...entries.map(([, n]) => n));
  return entries.sort((a, b) => b[1] - a[1]).slice(0, 8).map(([reason, n]) => {
    const fill = element("i");
    fill.style.width = `${n / most * 100}%`;
    return element("div", { class: `reason ${kind}` }, element("span", {}, reason.replaceAll("-", " ")), element("b", {}, count(n)), element("div", { class: "track", "aria-hidden": "true" }, fill));
  });
}

function draw() {
  const reasons = new Map();
  for (const round of closedRounds()) for (const [reason, n] of Object.entries(round.reasons)) if (!NO_FAULT.has(reason)) reasons.set(reason, (reasons.get(reason) ?? 0) + n);
  const turned = [];
  for (let at = store.rounds.length - 1; at >= 0 && turned.length < 6; at -= 1) {
    for (const row of store.cells.get(store.rounds[at].n)?.values() ?? []) {
      if ((row[CELL.outcome] === REJECTED || row[CELL.outcome] === FAILED) && turned.length < 6) turned.push(row);
    }
  }
  const ignored = Object.entries(store.head?.ignored ?? {});
  const parts = [];
  if (reasons.size) parts.push(element("p", { class: "subhead" }, "Rejected updates"), ...bars([...reasons], ""));
  if (turned.length) parts.push(element("p", { class: "subhead" }, "Last rejected or failed"), ...turned.map((row) => {
    const device = store.devices[row[CELL.device]];
    return element("div", { class: "turned" }, element("span", {}, `round ${row[0]}`), element("p", {}, element("b", {}, device ? display(device) : "?"), ` ${row[CELL.detail] ?? ""}`));
  }));
  if (ignored.length) parts.push(element("p", { class: "subhead" }, "Messages not believed"), ...bars(ignored, "unread"));
  where.replaceChildren(...parts.length ? parts : [element("p", { class: "empty" }, "Nothing was rejected.")]);
}

panel(where, ["rounds", "refused", "ignored"], draw);
