// What all charts over rounds share: their axes, their pointer and the round that is picked.
/* global uPlot */
import { colours, withAlpha } from "./theme.js";
import { pick, picked } from "./view.js";
import { hideTip, showTip } from "./tip.js";

export const font = (size = 12) => `${size}px ${getComputedStyle(document.body).fontFamily}`;

// Whole rounds only, and few enough that the numbers stay apart.
export function roundSplits(chart, axis, low, high) {
  const room = Math.max(2, Math.floor(chart.bbox.width / devicePixelRatio / 48));
  const span = Math.max(1, high - low);
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((each) => span / each <= room) ?? 1000;
  const splits = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) splits.push(at);
  return splits;
}

export function roundAxis(shown = true) {
  return {
    scale: "x", show: true, stroke: colours.faint, font: font(), size: shown ? 26 : 6, gap: 4,
    grid: { show: false }, ticks: { show: false }, splits: roundSplits,
    values: (chart, splits) => splits.map((value) => shown ? String(value) : ""),
  };
}

// The pointer's line stands on a round, never between two.
function onRound(chart, left, top) {
  if (left < 0 || !chart.data[0].length) return [left, top];
  return [chart.valToPos(chart.data[0][chart.posToIdx(left)], "x"), top];
}

export function makeChart(where, options, data, tell) {
  const chart = new uPlot({
    width: Math.max(80, where.clientWidth), height: Math.max(40, where.clientHeight),
    legend: { show: false },
    padding: [8, 8, 0, 0],
    ...options,
    cursor: {
      y: false, move: onRound, points: { show: false }, drag: { x: false, y: false },
      sync: { key: "rounds", setSeries: false }, ...options.cursor,
    },
    hooks: { ...options.hooks, drawClear: [markPicked, ...(options.hooks?.drawClear ?? [])] },
  }, data, where);
  let inside = false;
  chart.over.addEventListener("mouseenter", () => { inside = true; });
  chart.over.addEventListener("mouseleave", () => { inside = false; hideTip(); });
  chart.over.addEventListener("mousemove", (event) => {
    const at = chart.cursor.idx;
    if (!inside || at == null) return;
    const said = tell(at);
    if (said) showTip(event.clientX, event.clientY, said[0], said[1]);
  });
  chart.over.addEventListener("click", () => {
    const at = chart.cursor.idx;
    if (at != null) pick(chart.data[0][at]);
  });
  return chart;
}

function markPicked(chart) {
  if (!picked.round) return;
  const at = chart.valToPos(picked.round, "x", true);
  const { left, top, width, height } = chart.bbox;
  if (at < left - 1 || at > left + width + 1) return;
  const wide = Math.max(6 * devicePixelRatio, 0);
  chart.ctx.save();
  chart.ctx.fillStyle = withAlpha(colours.faint, 0.16);
  chart.ctx.fillRect(at - wide / 2, top, wide, height);
  chart.ctx.restore();
}
