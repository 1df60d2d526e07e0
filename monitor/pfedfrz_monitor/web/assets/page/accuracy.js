// Accuracy over rounds: means, and the spread over devices as bands behind them.
import { by, element } from "./dom.js";
import { font, makeChart, roundAxis } from "./charts.js";
import { percent } from "./format.js";
import { closedRounds, spread, store } from "./store.js";
import { colours, onTheme, withAlpha } from "./theme.js";
import { panel } from "./view.js";

const where = by("accuracy");
let chart = null;

function columns() {
  const rounds = closedRounds().filter((round) => round.received != null || round.local != null
    || spread(round.n, "received") || spread(round.n, "local"));
  const of = (measure, edge) => rounds.map((round) => spread(round.n, measure)?.[edge] ?? null);
  return [rounds.map((round) => round.n),
    of("received", "high"), of("received", "low"), of("local", "high"), of("local", "low"),
    rounds.map((round) => round.received), rounds.map((round) => round.local)];
}

function range(chart_) {
  const floors = chart_.data.slice(1).flat().filter((value) => value != null);
  if (!floors.length) return [0, 1];
  const least = Math.min(...floors), most = Math.max(...floors);
  const low = Math.max(0, Math.floor((least - 0.02) * 20) / 20);
  return [low, Math.min(1, Math.max(low + 0.1, Math.ceil((most + 0.01) * 20) / 20))];
}

// Beside the ends of the lines, as wide as the words there are in this font.
function room(narrow) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `600 ${font(13)}`;
  return Math.ceil(pen.measureText(narrow ? "100.0 %" : "received 100.0 %").width) + 14;
}

function make(data) {
  chart?.destroy();
  const narrow = where.clientWidth < 480;
  const line = (name, dash) => ({
    stroke: colours[name], width: 2.25, dash, spanGaps: true,
    points: { show: data[0].length < 40, size: 6, width: 1.5, stroke: colours[name], fill: name === "local" ? colours.local : colours.surface },
  });
  const edge = () => ({ stroke: "transparent", width: 0, points: { show: false }, spanGaps: true });
  chart = makeChart(where, {
    padding: [10, room(narrow), 0, 0],
    scales: { x: { time: false, range: (_, low, high) => low === high ? [low - 1, high + 1] : [low, high] }, y: { range } },
    axes: [roundAxis(), {
      stroke: colours.faint, font: font(), size: 48, gap: 6, ticks: { show: false }, space: 44,
      grid: { stroke: colours.line, width: 1 }, values: (_, splits) => splits.map((value) => percent(value, 0)),
    }],
    series: [{}, edge(), edge(), edge(), edge(), line("received", [5, 4]), line("local")],
    bands: [{ series: [1, 2], fill: withAlpha(colours.received, 0.13) }, { series: [3, 4], fill: withAlpha(colours.local, 0.15) }],
    hooks: { draw: [endLabels] },
  }, data, (at) => tell(at));
}

// The last means, beside the ends of their lines and clear of each other.
function endLabels(u) {
  const ratio = devicePixelRatio, narrow = where.clientWidth < 480;
  const ends = [["received", 5], ["local", 6]].map(([name, series]) => {
    const values = u.data[series];
    let at = values.length - 1;
    while (at >= 0 && values[at] == null) at -= 1;
    return at < 0 ? null : { name, value: values[at], y: u.valToPos(values[at], "y", true) };
  }).filter(Boolean).sort((a, b) => a.y - b.y);
  if (ends.length === 2 && ends[1].y - ends[0].y < 18 * ratio) {
    const middle = (ends[0].y + ends[1].y) / 2;
    ends[0].y = middle - 9 * ratio;
    ends[1].y = middle + 9 * ratio;
  }
  // What is pushed down from the edge pushes the next: both may be at 100 %.
  let least = u.bbox.top + 7 * ratio;
  for (const end of ends) {
    end.y = Math.max(least, end.y);
    least = end.y + 18 * ratio;
  }
  u.ctx.save();
  u.ctx.font = `600 ${13 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
  u.ctx.textBaseline = "middle";
  u.ctx.textAlign = "left";
  for (const end of ends) {
    u.ctx.fillStyle = colours[end.name];
    const text = narrow ? percent(end.value) : `${end.name} ${percent(end.value)}`;
    u.ctx.fillText(text, u.bbox.left + u.bbox.width + 10 * ratio, end.y);
  }
  u.ctx.restore();
}

function tell(at) {
  const number = chart.data[0][at], round = store.byRound.get(number);
  if (!round) return null;
  const rows = [];
  for (const measure of ["local", "received"]) {
    rows.push([`${measure}, mean`, percent(round[measure])]);
    const over = spread(number, measure);
    if (over) rows.push([`${measure}, median`, percent(over.median)], [`${measure}, range`, `${percent(over.least, 0)} to ${percent(over.most, 0)}`]);
  }
  return [`Round ${number}`, rows];
}

function draw() {
  const data = columns();
  if (!data[0].length) {
    chart?.destroy();
    chart = null;
    where.replaceChildren(element("p", { class: "empty" }, "The curves begin when the first round is closed."));
    return;
  }
  if (!chart) { where.replaceChildren(); make(data); }
  else {
    if (chart.width !== where.clientWidth || (chart.data[0].length < 40) !== (data[0].length < 40)) { make(data); }
    else chart.setData(data);
  }
  const last = closedRounds().at(-1);
  where.setAttribute("role", "img");
  where.setAttribute("aria-label", `Accuracy over ${data[0].length} rounds; in round ${last.n} received ${percent(last.received)}, local ${percent(last.local)} in the mean`);
}

const here = panel(where, ["rounds", "ended"], draw);
onTheme(() => { chart?.destroy(); chart = null; here.dirty = true; });
