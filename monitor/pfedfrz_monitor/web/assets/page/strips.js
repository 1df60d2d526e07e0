// What every round cost and what came of it: four strips of bars over the same rounds.
import { by, element, setText } from "./dom.js";
import { makeChart, roundAxis } from "./charts.js";
import { bytes, count, plural, seconds } from "./format.js";
import { closedRounds, store } from "./store.js";
import { colours, onTheme } from "./theme.js";
import { panel } from "./view.js";
/* global uPlot */

const where = by("strips");
const sum = (rounds, ...names) => rounds.reduce((all, round) => all + names.reduce((part, name) => part + (round[name] ?? 0), 0), 0);

const kinds = [
  { title: "Devices", parts: [["accepted", "local"], ["rejected", "attacker"], ["missing", "faint"]], said: count,
    total: (rounds) => `${plural(sum(rounds, "accepted"), "update")}` },
  { title: "Duration", parts: [["durationS", "faint"]], said: seconds,
    total: (rounds) => `${seconds(sum(rounds, "durationS"))} in all` },
  { title: "Traffic", parts: [["down", "heat-2"], ["up", "heat-4"]], said: bytes,
    total: (rounds) => `${bytes(sum(rounds, "down"))} down, ${bytes(sum(rounds, "up"))} up` },
  { title: "Training on devices", parts: [["trainS", "faint"]], said: seconds,
    total: (rounds) => `${seconds(sum(rounds, "trainS"))} in all` },
];
let made = null;

function build() {
  where.replaceChildren();
  made = kinds.map((kind, at) => {
    const total = element("b");
    const parts = kind.parts.length < 2 ? [] : kind.parts.map(([name, colour, label]) => {
      const swatch = element("i", { class: "swatch" });
      swatch.style.background = colours[colour];
      return element("span", { class: "part" }, swatch, label ?? name);
    });
    const chart = element("div", { class: "strip-chart" });
    where.append(element("div", { class: "strip" },
      element("div", { class: "strip-head" }, element("span", { class: "parts" }, element("b", {}, kind.title), ...parts), total), chart));
    return { kind, total, chart, plot: null, last: at === kinds.length - 1 };
  });
}

// Stacked from the top down: the sum of all parts first, and smaller sums over it.
function columns(rounds, kind) {
  const stacks = kind.parts.map((_, at) => rounds.map((round) => kind.parts.slice(0, at + 1).reduce((all, [name]) => all + (round[name] ?? 0), 0)));
  return [rounds.map((round) => round.n), ...stacks.reverse()];
}

function makePlot(strip, data) {
  const bars = uPlot.paths.bars({ size: [0.72, 26], align: 0, radius: 0.12 });
  strip.plot = makeChart(strip.chart, {
    padding: [6, 0, 0, 0],
    scales: { x: { time: false, range: (_, low, high) => [low - 0.6, high + 0.6] }, y: { range: (_, low, high) => [0, high || 1] } },
    axes: [roundAxis(strip.last), { show: false }],
    series: [{}, ...[...strip.kind.parts].reverse().map(([, colour]) => ({ fill: colours[colour], stroke: colours[colour], width: 0, paths: bars, points: { show: false } }))],
  }, data, (at) => tell(strip, at));
}

function tell(strip, at) {
  const round = store.byRound.get(strip.plot.data[0][at]);
  if (!round) return null;
  const reasons = strip.kind.title === "Devices" ? Object.entries(round.reasons).map(([reason, n]) => [`  ${reason}`, count(n)]) : [];
  return [`Round ${round.n}`, [...strip.kind.parts.map(([name, , label]) => [label ?? (strip.kind.parts.length > 1 ? name : strip.kind.title.toLowerCase()), strip.kind.said(round[name])]), ...reasons]];
}

function draw() {
  const rounds = closedRounds();
  if (!rounds.length) {
    made = null;
    where.replaceChildren(element("p", { class: "empty" }, "No round is closed yet."));
    return;
  }
  if (!made) build();
  for (const strip of made) {
    const data = columns(rounds, strip.kind);
    if (strip.plot && strip.plot.width === strip.chart.clientWidth && strip.plot.height === strip.chart.clientHeight) strip.plot.setData(data);
    else { strip.plot?.destroy(); makePlot(strip, data); }
    setText(strip.total, strip.kind.total(rounds));
    strip.chart.setAttribute("role", "img");
    strip.chart.setAttribute("aria-label", `${strip.kind.title} per round: ${strip.kind.total(rounds)}`);
  }
}

const here = panel(where, ["rounds"], draw);
onTheme(() => { for (const strip of made ?? []) strip.plot?.destroy(); made = null; here.dirty = true; });
