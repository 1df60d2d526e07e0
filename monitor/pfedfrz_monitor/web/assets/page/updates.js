// How far each update of a round went, and whether it went where the model went.
import { by, element, setText, sized } from "./dom.js";
import { font } from "./charts.js";
import { count, plural, significant, signed } from "./format.js";
import { AGAINST, CELL, display, quantile, store } from "./store.js";
import { colours, onTheme, withAlpha } from "./theme.js";
import { panel, pick, picked } from "./view.js";
import { hideTip, showTip } from "./tip.js";
import { openDevice } from "./device.js";

const where = by("updates");
const TRAIL = 4, NAMED = 6;
let canvas = null, points = [];

const measured = () => store.rounds.filter((round) => {
  for (const row of store.cells.get(round.n)?.values() ?? []) if (row[CELL.norm] != null) return true;
  return false;
}).map((round) => round.n);

function shown() {
  const rounds = measured();
  if (!rounds.length) return null;
  const wanted = picked.round || rounds.at(-1);
  return { rounds, at: Math.max(0, rounds.findLastIndex((number) => number <= wanted)) };
}

function step(by_) {
  const { rounds, at } = shown() ?? {};
  if (!rounds) return;
  const next = at + by_;
  if (next >= 0 && next < rounds.length) pick(next === rounds.length - 1 ? 0 : rounds[next]);
}
export const before = () => step(-1), after = () => step(1);
by("round-before").addEventListener("click", before);
by("round-after").addEventListener("click", after);

function ticks(low, high) {
  const span = high - low, rough = span / 3, power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((each) => each * power).find((each) => span / each <= 4);
  const all = [];
  for (let at = Math.ceil(low / size) * size; at <= high + 1e-9; at += size) all.push(at);
  return all;
}

function draw() {
  const now = shown();
  by("round-before").hidden = by("round-after").hidden = !now;
  by("round-before").disabled = !now || now.at === 0;
  by("round-after").disabled = !now || now.at === now.rounds.length - 1;
  setText(by("updates-round"), now ? `Round ${now.rounds[now.at]}` : "");
  if (!now) {
    canvas = null;
    where.replaceChildren(element("p", { class: "empty" }, "Norms and cosines come with the end of a round."));
    return;
  }
  if (!canvas) {
    canvas = element("canvas", { "aria-hidden": "true" });
    canvas.addEventListener("mousemove", hover);
    canvas.addEventListener("mouseleave", hideTip);
    canvas.addEventListener("click", (event) => { const hit = nearest(event); if (hit) openDevice(hit.device); });
    where.replaceChildren(canvas);
  }
  const width = where.clientWidth, height = where.clientHeight;
  const context = sized(canvas, width, height);
  const number = now.rounds[now.at];
  const rows = [...store.cells.get(number).values()].filter((row) => row[CELL.norm] != null);
  const trail = now.rounds.slice(Math.max(0, now.at - TRAIL), now.at);
  const old = trail.flatMap((each) => [...store.cells.get(each).values()].filter((row) => row[CELL.norm] != null && row[CELL.cosine] != null));
  const norms = [...rows, ...old].map((row) => row[CELL.norm]);
  const high = Math.max(...norms), low = Math.min(...norms), log = low > 0 && high / low > 12;
  const scale = log ? Math.log10 : (value) => value;
  const pad = (scale(high) - scale(low) || Math.abs(scale(high)) || 1) * 0.1;
  const from = log ? scale(low) - pad : Math.max(0, low - pad), to = scale(high) + pad;
  const box = { left: 34, top: 26, right: width - 10, bottom: height - 36 };
  const x = (norm) => box.left + (scale(norm) - from) / (to - from) * (box.right - box.left);
  // Where data differ much, all cosines are near 0: they get the room.
  const largest = Math.max(...[...rows, ...old].map((row) => Math.abs(row[CELL.cosine] ?? 0)));
  const limit = [0.25, 0.5].find((each) => largest < each * 0.92) ?? 1;
  const y = (cosine) => box.top + (1 - cosine / limit) / 2 * (box.bottom - box.top);

  context.fillStyle = withAlpha(colours.attacker, 0.08);
  context.fillRect(box.left, y(AGAINST), box.right - box.left, y(-limit) - y(AGAINST));
  context.font = font(12);
  context.textBaseline = "middle";
  context.lineWidth = 1;
  for (const value of [limit, limit / 2, 0, -limit / 2, -limit]) {
    context.strokeStyle = value === 0 ? colours.faint : colours.line;
    context.beginPath();
    context.moveTo(box.left, Math.round(y(value)) + 0.5);
    context.lineTo(box.right, Math.round(y(value)) + 0.5);
    context.stroke();
    if (value === 0 || Math.abs(value) === limit) {
      context.fillStyle = colours.faint;
      context.textAlign = "right";
      context.fillText(String(value).replace("-", "−").replace("0.", "."), box.left - 6, y(value));
    }
  }
  context.textAlign = "center";
  for (const value of ticks(from, to)) {
    const norm = log ? 10 ** value : value;
    const place = x(norm);
    if (place < box.left + 8 || place > box.right - 12) continue;
    context.fillText(significant(norm), place, box.bottom + 12);
  }
  context.fillText("norm of the update, dotted: its median", (box.left + box.right) / 2, box.bottom + 28);
  context.textAlign = "left";
  context.fillText("cosine to the mean of the others", box.left, 8);
  context.fillStyle = colours.attacker;
  const pulling = rows.filter((row) => row[CELL.cosine] < AGAINST).length;
  context.fillText(pulling > NAMED ? `${count(pulling)} pull against the others` : "pulls against the others", box.left + 6, y(-limit) - 11);

  // Who agrees with the others may still do too much of it: then the norm gives them away, so that
  // the middle one is drawn.
  const sorted = rows.map((row) => row[CELL.norm]).sort((a, b) => a - b), middle = Math.round(x(quantile(sorted, 0.5))) + 0.5;
  context.strokeStyle = colours.faint;
  context.setLineDash([2, 4]);
  context.beginPath();
  context.moveTo(middle, box.top);
  context.lineTo(middle, box.bottom - 22);
  context.stroke();
  context.setLineDash([]);

  for (const row of old) {
    context.fillStyle = withAlpha(row[CELL.cosine] < AGAINST ? colours.attacker : colours.local, 0.28);
    mark(context, x(row[CELL.norm]), y(row[CELL.cosine]), 3, row[CELL.cosine] < AGAINST);
  }
  points = [];
  for (const row of rows) {
    const cosine = row[CELL.cosine], device = store.devices[row[CELL.device]];
    const point = { x: x(row[CELL.norm]), y: y(cosine ?? 0), row, device: row[CELL.device], against: cosine < AGAINST, known: cosine != null };
    points.push(point);
    context.fillStyle = cosine == null ? "transparent" : point.against ? colours.attacker : withAlpha(colours.local, rows.length > 200 ? 0.55 : 0.9);
    context.strokeStyle = cosine == null ? colours.faint : colours.surface;
    mark(context, point.x, point.y, rows.length > 200 ? 3.2 : 5, point.against, true);
    point.name = device ? display(device) : "";
  }
  labelAgainst(context, box);
  const against = points.filter((point) => point.against).length;
  where.setAttribute("role", "img");
  where.setAttribute("aria-label", `Updates of round ${number}: ${plural(rows.length, "update")}, ${against} of them pull against the others${against ? `: ${points.filter((p) => p.against).slice(0, 10).map((p) => p.name).join(", ")}` : ""}`);
}

function mark(context, x, y, radius, diamond, ring) {
  context.beginPath();
  if (diamond) {
    const r = radius * 1.25;
    context.moveTo(x, y - r); context.lineTo(x + r, y); context.lineTo(x, y + r); context.lineTo(x - r, y);
    context.closePath();
  } else context.arc(x, y, radius, 0, 7);
  context.fill();
  if (ring) { context.lineWidth = 1.25; context.stroke(); }
}

// Names of those that keep pulling against the others, or else of those that do so in this round: as
// many as fit without lying over each other.
function labelAgainst(context, box) {
  const keep = points.filter((each) => each.known && store.devices[each.device]?.opposes);
  const taken = [], against = keep.length ? keep : points.filter((each) => each.against);
  if (against.length > NAMED) return;
  context.fillStyle = colours.attacker;
  context.font = `600 ${font(12)}`;
  for (const point of against.sort((a, b) => a.row[CELL.cosine] - b.row[CELL.cosine])) {
    const text = point.name.length > 18 ? `${point.name.slice(0, 17)}…` : point.name;
    const wide = context.measureText(text).width;
    const left = point.x + 11 + wide > box.right;
    const area = { x: left ? point.x - 11 - wide : point.x + 11, y: point.y, w: wide };
    if (area.y > box.bottom - 20 && area.x < box.left + 180) area.y = box.bottom - 26;
    if (taken.some((other) => Math.abs(other.y - area.y) < 14 && area.x < other.x + other.w + 4 && other.x < area.x + area.w + 4)) continue;
    taken.push(area);
    context.textAlign = "left";
    context.fillText(text, area.x, area.y);
  }
}

function nearest(event) {
  const box = canvas.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  let best = null, least = 18 * 18;
  for (const point of points) {
    const far = (point.x - x) ** 2 + (point.y - y) ** 2;
    if (far < least) { least = far; best = point; }
  }
  return best;
}

function hover(event) {
  const hit = nearest(event);
  canvas.style.cursor = hit ? "pointer" : "";
  if (!hit) { hideTip(); return; }
  showTip(event.clientX, event.clientY, hit.name, [
    ["norm", significant(hit.row[CELL.norm])], ["cosine", signed(hit.row[CELL.cosine])],
    hit.against ? ["pulls against the others"] : null,
    store.devices[hit.device]?.opposes ? ["keeps doing so"] : null]);
}

const here = panel(where, ["ended", "rounds"], draw);
onTheme(() => { here.dirty = true; });
