// What the page knows. Rows come as arrays, in the order that picture.py writes them.

const DEVICE = ["i", "name", "presence", "waitingFor", "standing", "refusal", "stage", "stageRound",
  "progress", "doing", "runtime", "samples", "labels", "received", "local", "latestRound",
  "accepted", "rejected", "failures", "trainS", "downloaded", "heardAt", "opposes"];
const ROUND = ["n", "evaluates", "epoch", "openings", "selected", "deadlineS", "openedAt",
  "closedAt", "durationS", "accepted", "rejected", "missing", "received", "local", "loss", "up",
  "down", "trainS", "reasons"];
// [round, device, outcome, received, local, norm, cosine, train seconds, detail]
export const CELL = { round: 0, device: 1, outcome: 2, received: 3, local: 4, norm: 5, cosine: 6, trainS: 7, detail: 8 };
export const OUTCOME = ["selected", "reported", "accepted", "rejected", "failed", "measured"];
export const REJECTED = 3, FAILED = 4;
// "ended" and "refused" are cells too: of closed rounds, and of updates that were turned away.
// Honest updates whose data differ stand at right angles to the others, give or take: only what is
// clearly below 0 is said to pull against them. Whether a device keeps doing so the view says.
export const AGAINST = -0.1;
const PARTS = ["head", "ignored", "devices", "rounds", "cells", "ended", "refused", "log"];

export const store = {
  federation: "", acts: false, labels: Object.create(null), head: null, connected: false, offset: 0,
  devices: [], rounds: [], byRound: new Map(), cells: new Map(), log: [], mostCells: 0,
  labelled: 0, mixVersion: 0, cellCount: 0, mostEntries: 300,
};
const spreads = new Map();
let uses = new Map();

const named = (names, row) => {
  const made = {};
  for (let at = 0; at < names.length; at += 1) made[names[at]] = row[at];
  return made;
};

export const now = () => Date.now() / 1000 + store.offset;
// Several devices may be called the same, such as "attacker": then their own names come first.
export const isOwnName = (device) => uses.get(store.labels[device.name]) === 1;
export function display(device) {
  const label = store.labels[device.name];
  return label === undefined ? device.name : isOwnName(device) ? label : `${device.name} ${label}`;
}

export function takeSnapshot(all) {
  Object.assign(store, {
    federation: all.federation, acts: all.acts, head: all.head,
    mostCells: all.most_cells, mostEntries: all.most_entries,
    devices: [], rounds: [], byRound: new Map(), cells: new Map(), log: [], labelled: 0, cellCount: 0,
    // Without a prototype: a device may be called "constructor".
    labels: Object.assign(Object.create(null), all.labels),
  });
  spreads.clear();
  uses = new Map();
  for (const label of Object.values(all.labels)) uses.set(label, (uses.get(label) ?? 0) + 1);
  takeChanges(all);
  return new Set(PARTS);
}

// Returns which parts changed.
export function takeChanges(changes) {
  const parts = new Set();
  store.offset = changes.now - Date.now() / 1000;
  if (changes.head) {
    if (JSON.stringify(changes.head.ignored) !== JSON.stringify(store.head?.ignored)) parts.add("ignored");
    store.head = changes.head;
    parts.add("head");
  }
  for (const number of changes.gone ?? []) { forget(number); parts.add("rounds").add("cells"); }
  for (const row of changes.rounds ?? []) { takeRound(named(ROUND, row)); parts.add("rounds"); }
  for (const row of changes.devices ?? []) { takeDevice(named(DEVICE, row)); parts.add("devices"); }
  for (const row of changes.cells ?? []) {
    takeCell(row);
    parts.add("cells");
    if (store.byRound.get(row[0])?.closedAt != null) parts.add("ended");
    if (row[CELL.outcome] === REJECTED || row[CELL.outcome] === FAILED) parts.add("refused");
  }
  if (changes.rounds?.length) store.rounds = [...store.byRound.values()].sort((a, b) => a.n - b.n);
  if (changes.log?.length) {
    const last = store.log.at(-1)?.[0] ?? 0;
    store.log = store.log.concat(changes.log.filter((entry) => entry[0] > last)).slice(-store.mostEntries);
    parts.add("log");
  }
  prune();
  return parts;
}

function takeDevice(device) {
  const known = store.devices[device.i];
  if (known?.labels.join() !== device.labels.join()) store.mixVersion += 1;
  if (known?.labels?.length) store.labelled -= 1;
  if (device.labels.length) store.labelled += 1;
  store.devices[device.i] = Object.assign(known ?? { cosine: null, norm: null, cosineRound: 0, lastLocal: null, localRound: 0 }, device);
}

function takeRound(round) { store.byRound.set(round.n, round); }

function takeCell(row) {
  let here = store.cells.get(row[0]);
  if (!here) store.cells.set(row[0], here = new Map());
  if (!here.has(row[1])) store.cellCount += 1;
  here.set(row[1], row);
  spreads.delete(row[0]);
  const cosine = row[CELL.cosine];
  const device = store.devices[row[1]];
  if (device && row[CELL.local] != null && row[0] >= device.localRound) {
    device.lastLocal = row[CELL.local];
    device.localRound = row[0];
  }
  if (device && cosine != null && row[0] >= device.cosineRound) {
    device.cosine = cosine;
    device.norm = row[CELL.norm];
    device.cosineRound = row[0];
  }
}

function forget(number) {
  store.cellCount -= store.cells.get(number)?.size ?? 0;
  store.cells.delete(number);
  store.byRound.delete(number);
  store.rounds = store.rounds.filter((round) => round.n !== number);
  spreads.delete(number);
}

function prune() {
  while (store.cellCount > store.mostCells && store.cells.size > 1) {
    const oldest = Math.min(...store.cells.keys());
    store.cellCount -= store.cells.get(oldest).size;
    store.cells.delete(oldest);
    spreads.delete(oldest);
  }
}

export const cell = (number, device) => store.cells.get(number)?.get(device);
export const openRound = () => store.head?.open ? store.byRound.get(store.head.open) : undefined;
export const closedRounds = () => store.rounds.filter((round) => round.closedAt != null);

// Quantiles of a round over its devices, for one measure; null where fewer than two reported.
export function spread(number, measure) {
  let both = spreads.get(number);
  if (!both) spreads.set(number, both = {});
  if (both[measure] !== undefined) return both[measure];
  const values = [];
  for (const row of store.cells.get(number)?.values() ?? []) if (row[CELL[measure]] != null) values.push(row[CELL[measure]]);
  values.sort((a, b) => a - b);
  both[measure] = values.length < 2 ? null : {
    least: values[0], low: quantile(values, 0.1), median: quantile(values, 0.5),
    high: quantile(values, 0.9), most: values.at(-1), count: values.length,
  };
  return both[measure];
}

export function quantile(sorted, share) {
  const place = share * (sorted.length - 1), low = Math.floor(place);
  return sorted[low] + ((sorted[low + 1] ?? sorted[low]) - sorted[low]) * (place - low);
}

// What has become of an open round's devices.
export function progressOf(round) {
  const done = { accepted: 0, reported: 0, rejected: 0, failed: 0 };
  for (const row of store.cells.get(round.n)?.values() ?? []) {
    const outcome = OUTCOME[row[CELL.outcome]];
    if (outcome === "measured") done.accepted += 1;
    else if (outcome in done) done[outcome] += 1;
  }
  return done;
}
