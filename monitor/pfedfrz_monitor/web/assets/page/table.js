// The devices in words. However many there are, only the rows in sight exist.
import { by, element, setClass, setText } from "./dom.js";
import { ago, count, percent, plural, significant, signed } from "./format.js";
import { AGAINST, CELL, display, isOwnName, now, store } from "./store.js";
import { order, ordered, sortBy } from "./order.js";
import { openDevice } from "./device.js";
import { panel, redraw } from "./view.js";

const where = by("device-table");
const ROW = 37, AROUND = 6, SPARK = 24;
const COLUMNS = [
  ["name", "Device", ""], ["presence", "State", "c-state"], ["stage", "Doing", "c-stage"],
  ["received", "Received", "number c-received"], ["local", "Local", "number c-local"],
  ["", "Rounds", "c-spark"], ["norm", "Norm", "number c-norm"], ["cosine", "Cosine", "number c-cosine"],
  ["samples", "Samples", "number c-samples"], ["rejected", "Accepted, rejected", "number c-updates", "Updates accepted; rejected or failed"], ["heard", "Heard", "number c-heard"],
];
let body = null, heads = [], over = null, under = null, none = null, pool = [];

function build() {
  heads = COLUMNS.map(([key, title, kind, said]) => key
    ? element("th", { class: kind, scope: "col", title: said }, element("button", { type: "button", onclick: () => sortBy(key, order.by === key ? !order.down : undefined) }, title))
    : element("th", { class: kind, scope: "col" }, title));
  over = element("tr", { class: "gap", "aria-hidden": "true" }, element("td", { colspan: COLUMNS.length }));
  under = over.cloneNode(true);
  body = element("tbody", {}, over, under);
  where.replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body));
  none = element("p", { class: "empty", hidden: true }, "No device has that in its name, label or state.");
  where.append(none);
  pool = [];
}

function makeRow() {
  const name = element("button", { type: "button" }), id = element("small");
  const mark = element("i", { class: "mark", "aria-hidden": "true" }), state = element("span");
  const fill = element("i"), meter = element("span", { class: "meter", "aria-hidden": "true" }, fill), doing = element("span");
  const stage = element("span", { class: "stage" }, meter, doing);
  const spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  spark.setAttribute("class", "spark");
  spark.setAttribute("aria-hidden", "true");
  const lines = ["r", "l"].map((kind) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", kind);
    spark.append(path);
    return path;
  });
  const cells = COLUMNS.map(([, , kind], at) => at === 0 ? element("th", { scope: "row" }, name, id) : element("td", { class: kind }));
  cells[1].append(element("span", { class: "presence" }, mark, state));
  cells[2].append(stage);
  cells[5].append(spark);
  const row = element("tr", {}, ...cells);
  const made = { row, name, id, mark, state, fill, meter, doing, stage, lines, cells, device: null };
  name.addEventListener("click", () => openDevice(made.device.i));
  return made;
}

function stateOf(device) {
  if (device.standing !== "enrolled") return ["kept-out", device.standing === "waiting" ? "to be accepted" : device.standing];
  if (device.presence === "waiting") return ["waiting", device.waitingFor || "waiting"];
  return [device.presence === "offline" ? "offline" : "", device.presence];
}

// The local and received accuracies of the last rounds, from 0 to 1 over the height.
export function sparkPaths(device, width, height, most = SPARK) {
  const rounds = store.rounds.slice(-most), paths = ["", ""];
  let low = 1;
  const rows = rounds.map((round) => store.cells.get(round.n)?.get(device.i));
  for (const one of rows) for (const at of [CELL.received, CELL.local]) if (one?.[at] != null) low = Math.min(low, one[at]);
  low = Math.max(0, low - 0.05);
  rows.forEach((one, index) => {
    [CELL.received, CELL.local].forEach((at, line) => {
      if (one?.[at] == null) return;
      const x = rows.length < 2 ? 0 : index / (rows.length - 1) * width;
      const y = height - (one[at] - low) / (1 - low || 1) * (height - 3) - 1.5;
      paths[line] += `${paths[line] ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    });
  });
  return paths;
}

function fillRow(made, device, index) {
  made.device = device;
  const [kind, state] = stateOf(device);
  setClass(made.row, kind === "kept-out" ? "kept-out-row" : kind === "offline" ? "offline-row" : "");
  made.row.setAttribute("aria-rowindex", index + 2);
  made.row.dataset.device = device.name;
  setText(made.name, display(device));
  setText(made.id, isOwnName(device) ? device.name : "");
  setClass(made.mark, `mark ${kind}`);
  setText(made.state, state);
  made.state.title = device.refusal || device.waitingFor || "";
  const busy = device.stage === "training" && device.presence !== "offline";
  setClass(made.stage, `stage ${device.stage}`);
  made.meter.hidden = !busy;
  if (busy) made.fill.style.width = `${Math.round(device.progress * 100)}%`;
  setText(made.doing, device.presence === "offline" ? "" : busy ? device.doing.replace(/^phase (\S+).*, /, "phase $1, ") : device.doing || device.stage);
  made.doing.title = device.doing;
  setText(made.cells[3], percent(device.received));
  setText(made.cells[4], percent(device.local ?? device.lastLocal));
  const paths = sparkPaths(device, 84, 22);
  made.lines.forEach((line, at) => { if (line.getAttribute("d") !== paths[at]) line.setAttribute("d", paths[at]); });
  setText(made.cells[6], significant(device.norm));
  setText(made.cells[7], signed(device.cosine));
  setClass(made.cells[7], `number c-cosine${device.opposes || device.cosine < AGAINST ? " against" : ""}`);
  made.cells[7].title = device.opposes ? "keeps pulling against the others" : "";
  setText(made.cells[8], count(device.samples));
  setText(made.cells[9], `${count(device.accepted)}, ${count(device.rejected + device.failures)}`);
  setText(made.cells[10], device.heardAt ? ago(now() - device.heardAt) : "–");
}

function draw() {
  const known = store.devices.filter(Boolean);
  const here = known.filter((device) => device.presence === "online").length;
  setText(by("device-count"), known.length ? `${plural(known.length, "device")}, ${count(here)} online` : "");
  if (!known.length) {
    body = null;
    where.replaceChildren(element("p", { class: "empty" }, "Devices appear when they say that they are there."));
    return;
  }
  if (!body) build();
  heads.forEach((head, at) => {
    if (COLUMNS[at][0] === order.by) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  paint();
}

function paint() {
  if (!body) return;
  const devices = ordered();
  none.hidden = devices.length > 0;
  const printing = matchMedia("print").matches;
  const first = printing ? 0 : Math.max(0, Math.floor(where.scrollTop / ROW) - AROUND);
  const last = printing ? Math.min(devices.length, 200) : Math.min(devices.length, first + Math.ceil(520 / ROW) + 2 * AROUND);
  body.parentElement.setAttribute("aria-rowcount", devices.length + 1);
  over.firstChild.style.height = `${first * ROW}px`;
  under.firstChild.style.height = `${(devices.length - last) * ROW}px`;
  while (pool.length < last - first) { const made = makeRow(); pool.push(made); under.before(made.row); }
  while (pool.length > last - first) pool.pop().row.remove();
  for (let index = first; index < last; index += 1) fillRow(pool[index - first], devices[index], index);
}

where.addEventListener("scroll", () => requestAnimationFrame(paint), { passive: true });
addEventListener("beforeprint", () => redraw());
panel(where, ["devices", "cells"], draw);
