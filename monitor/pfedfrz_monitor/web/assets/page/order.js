// One order of devices for the map and the table, and one search.
import { by } from "./dom.js";
import { display, store } from "./store.js";
import { redraw } from "./view.js";

export const order = { by: "name", down: false, search: "" };
const natural = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const KEYS = {
  name: null,
  presence: (device) => device.standing !== "enrolled" ? -1 : ["waiting", "offline", "online"].indexOf(device.presence),
  stage: (device) => device.stageRound * 10 + device.progress,
  received: (device) => device.received, local: (device) => device.local ?? device.lastLocal,
  norm: (device) => device.norm, cosine: (device) => device.cosine,
  samples: (device) => device.samples, rejected: (device) => device.rejected + device.failures,
  heard: (device) => device.heardAt,
};
const LARGEST_FIRST = new Set(["norm", "rejected", "samples", "stage"]);
let kept = null, keptOf = "", keptCount = -1, keptAt = 0;

export function sortBy(key, down) {
  order.by = key;
  order.down = down ?? LARGEST_FIRST.has(key);
  const select = by("order");
  select.value = [...select.options].some((option) => option.value === key) ? key : "name";
  redraw();
}

// Sorted again once a second at most: rows that jump at every message cannot be read.
export function ordered() {
  const state = `${order.by} ${order.down} ${order.search}`;
  const count = store.devices.length;
  const at = performance.now();
  if (kept && keptOf === state && keptCount === count && (order.by === "name" || at - keptAt < 1000)
    && store.devices[kept[0]?.i] === kept[0]) return kept;
  const wanted = order.search.trim().toLowerCase();
  const all = store.devices.filter((device) => device && (!wanted || device.name.toLowerCase().includes(wanted)
    || display(device).toLowerCase().includes(wanted) || device.standing.includes(wanted) || device.presence.includes(wanted)));
  const key = KEYS[order.by], sign = order.down ? -1 : 1;
  const names = (a, b) => natural.compare(display(a), display(b)) || natural.compare(a.name, b.name);
  all.sort(key === null ? (a, b) => sign * names(a, b) : (a, b) => {
    const x = key(a), y = key(b);
    if (x == null || y == null) return (x == null) - (y == null) || names(a, b);
    return sign * (x - y) || names(a, b);
  });
  kept = all; keptOf = state; keptCount = count; keptAt = at;
  return all;
}

by("order").addEventListener("change", (event) => sortBy(event.target.value));
by("search").addEventListener("input", (event) => { order.search = event.target.value; redraw(); });
