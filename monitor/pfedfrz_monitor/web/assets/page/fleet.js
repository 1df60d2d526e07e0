// Devices by rounds: a cell's colour is the local accuracy, a shape says what went wrong. Only what
// is in sight is drawn; many devices make thin rows, which are painted as pixels.
import { by, element, sized } from "./dom.js";
import { font } from "./charts.js";
import { count, percent, significant, signed } from "./format.js";
import { AGAINST, CELL, FAILED, OUTCOME, REJECTED, cell, display, store } from "./store.js";
import { colours, onTheme, ramp, rampColour } from "./theme.js";
import { order, ordered } from "./order.js";
import { openDevice } from "./device.js";
import { hideTip, showTip } from "./tip.js";
import { panel, pick, picked } from "./view.js";

const where = by("fleet-map"), legend = by("fleet-legend");
const HEAD = 22, MOST = 440;
let parts = null, frame = null, focus = null;
const picture = new OffscreenCanvas(1, 1);

function build() {
  const canvas = element("canvas", { "aria-hidden": "true" });
  const space = element("div", { class: "space" });
  const scroller = element("div", { class: "fleet-scroll", tabindex: "0", role: "application", "aria-label": "Devices by rounds: arrow keys go from cell to cell, Enter opens the device", "aria-describedby": "fleet-said" }, space, canvas);
  const said = element("p", { class: "hidden", id: "fleet-said", "aria-live": "polite" });
  scroller.addEventListener("scroll", () => requestAnimationFrame(paint), { passive: true });
  canvas.addEventListener("mousemove", (event) => {
    const hit = at(event);
    if (hit) say(hit, event.clientX, event.clientY); else hideTip();
    canvas.style.cursor = hit ? "pointer" : "";
  });
  canvas.addEventListener("mouseleave", hideTip);
  canvas.addEventListener("click", (event) => {
    const hit = at(event);
    if (hit?.column === -1) openDevice(hit.device.i);
    else if (hit) pick(frame.rounds[hit.column].n);
  });
  scroller.addEventListener("keydown", move);
  scroller.addEventListener("blur", () => { focus = null; hideTip(); requestAnimationFrame(paint); });
  where.replaceChildren(scroller, said);
  parts = { canvas, space, scroller, said };
}

function layout() {
  const devices = ordered(), width = where.clientWidth;
  const row = Math.max(3, Math.min(32, Math.floor((MOST - HEAD) / Math.max(1, devices.length))));
  const names = row < 12 ? 0 : Math.min(width < 500 ? 84 : 150, 24 + Math.max(...devices.slice(0, 60).map((device) => display(device).length)) * 7.2);
  const mix = store.labelled ? (width < 500 ? 64 : 130) : 0;
  const room = width - names - (mix ? mix + 14 : 0) - 2;
  const known = store.rounds.filter((round) => round.selected);
  const column = Math.max(5, Math.min(56, Math.floor(room / Math.max(1, known.length))));
  const rounds = known.slice(-Math.max(1, Math.floor(room / column)));
  const values = [];
  for (const round of rounds.slice(-12)) for (const one of store.cells.get(round.n)?.values() ?? []) if (one[CELL.local] != null && values.length < 4000) values.push(one[CELL.local]);
  values.sort((a, b) => a - b);
  const low = values.length ? Math.max(0, Math.min(0.8, Math.floor(values[Math.floor(values.length * 0.03)] * 10) / 10)) : 0;
  return { devices, width, row, names, mix, column, rounds, low, measured: values.length > 0, height: Math.min(MOST, HEAD + devices.length * row + 2) };
}

function draw() {
  if (!store.devices.some(Boolean)) {
    parts = frame = null;
    legend.replaceChildren();
    where.replaceChildren(element("p", { class: "empty" }, "No device has been heard."));
    return;
  }
  if (!parts) build();
  const before = frame;
  frame = layout();
  legend.hidden = !frame.rounds.length;
  if (!before || before.low !== frame.low || before.measured !== frame.measured || before.mix !== frame.mix || before.dark !== colours.background) explain();
  frame.dark = colours.background;
  parts.space.style.height = `${HEAD + frame.devices.length * frame.row + 2}px`;
  parts.scroller.style.height = `${frame.height}px`;
  paint();
}

function paint() {
  if (!parts || !frame) return;
  const { devices, row, names, column, rounds, width, height, mix } = frame;
  const inner = parts.scroller.clientWidth || width;
  const context = sized(parts.canvas, inner, height);
  const top = parts.scroller.scrollTop, first = Math.floor(top / row);
  const last = Math.min(devices.length, first + Math.ceil((height - HEAD) / row) + 1);
  const y = (index) => HEAD + index * row - top;
  const chosen = rounds.findIndex((round) => round.n === picked.round);
  context.save();
  context.beginPath();
  context.rect(0, HEAD, inner, height - HEAD);
  context.clip();
  if (row < 7) pixels(context, first, last, y);
  else cells(context, first, last, y);
  marks(context, first, last, y);
  if (names) {
    context.font = font(12.5);
    context.textBaseline = "middle";
    context.textAlign = "left";
    for (let index = first; index < last; index += 1) {
      const device = devices[index];
      context.fillStyle = device.presence === "offline" || device.standing !== "enrolled" ? colours.faint : device.opposes ? colours.attacker : colours.text;
      context.font = device.opposes ? `600 ${font(12.5)}` : font(12.5);
      context.fillText(fit(context, display(device), names - 12), 0, y(index) + row / 2 + 0.5);
    }
  }
  if (mix) mixes(context, first, last, y, inner - mix - 6, mix);
  if (focus) {
    context.strokeStyle = colours.text;
    context.lineWidth = 2;
    context.strokeRect(names + focus.column * column, y(focus.index), column - 1, row - 1);
  }
  context.restore();
  context.font = font(12);
  context.textBaseline = "middle";
  context.textAlign = "center";
  const each = [1, 2, 5, 10, 20, 50, 100].find((size) => size * column >= 30) ?? 200;
  for (const [index, round] of rounds.entries()) {
    const centre = names + index * column + (column - 1) / 2;
    const isChosen = index === chosen;
    if (round.n % each && !isChosen) continue;
    if (!isChosen && chosen >= 0 && Math.abs(index - chosen) * column < 30) continue;
    context.fillStyle = isChosen ? colours.text : colours.faint;
    context.font = isChosen ? `600 ${font(12)}` : font(12);
    context.fillText(String(round.n), Math.max(names + 6, centre), HEAD / 2 - 1);
  }
  if (chosen >= 0) {
    context.strokeStyle = colours.text;
    context.lineWidth = 1.5;
    context.strokeRect(names + chosen * column - 1, HEAD - 1, column + 1, Math.min(height - HEAD, devices.length * row) + 1);
  }
  if (mix) {
    context.font = font(12);
    context.textAlign = "left";
    context.fillStyle = colours.faint;
    context.fillText(mix > 80 ? "labels of its samples" : "labels", inner - mix - 6, HEAD / 2 - 1);
  }
}

const shade = (local) => (local - frame.low) / (1 - frame.low || 1);

function cells(context, first, last, y) {
  const { devices, rounds, names, column, row } = frame;
  for (const [index, round] of rounds.entries()) {
    const here = store.cells.get(round.n);
    if (!here) continue;
    const x = names + index * column;
    for (let at_ = first; at_ < last; at_ += 1) {
      const one = here.get(devices[at_].i);
      if (!one) continue;
      const local = one[CELL.local] ?? (one[CELL.outcome] === 5 ? one[CELL.received] : null);
      context.fillStyle = local == null ? colours.sunken : rampColour(shade(local));
      context.fillRect(x, y(at_), column - 1, row - 1);
    }
  }
}

function pixels(context, first, last, y) {
  const { devices, rounds, names, column, row } = frame;
  const high = last - first;
  if (high <= 0 || !rounds.length) return;
  picture.width = rounds.length;
  picture.height = high;
  const inside = picture.getContext("2d"), image = inside.createImageData(rounds.length, high);
  const none = colours.sunken.match(/[\d.]+/g).map(Number);
  for (const [index, round] of rounds.entries()) {
    const here = store.cells.get(round.n);
    if (!here) continue;
    for (let at_ = first; at_ < last; at_ += 1) {
      const one = here.get(devices[at_].i);
      if (!one) continue;
      const local = one[CELL.local] ?? (one[CELL.outcome] === 5 ? one[CELL.received] : null);
      const colour = local == null ? none : ramp[Math.max(0, Math.min(100, Math.round(shade(local) * 100)))];
      const place = ((at_ - first) * rounds.length + index) * 4;
      image.data[place] = colour[0]; image.data[place + 1] = colour[1]; image.data[place + 2] = colour[2]; image.data[place + 3] = 255;
    }
  }
  inside.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, names, y(first), rounds.length * column, high * row);
}

function marks(context, first, last, y) {
  const { devices, rounds, names, column, row } = frame;
  const open = store.head?.open, small = row < 7;
  for (const [index, round] of rounds.entries()) {
    const here = store.cells.get(round.n);
    if (!here) continue;
    const x = names + index * column, wide = column - 1, tall = Math.max(1, row - 1);
    for (let at_ = first; at_ < last; at_ += 1) {
      const one = here.get(devices[at_].i);
      if (!one) continue;
      const outcome = one[CELL.outcome], top = y(at_), cx = x + wide / 2, cy = top + tall / 2;
      if (outcome === REJECTED) {
        if (small) { context.fillStyle = colours.attacker; context.fillRect(x + wide * 0.25, top, Math.max(2, wide / 2), tall); continue; }
        context.fillStyle = colours.surface;
        context.fillRect(x, top, wide, tall);
        context.strokeStyle = colours.attacker;
        context.lineWidth = 2;
        const r = Math.min(4.5, wide / 2 - 1.5, tall / 2 - 1.5);
        context.beginPath();
        context.moveTo(cx - r, cy - r); context.lineTo(cx + r, cy + r);
        context.moveTo(cx + r, cy - r); context.lineTo(cx - r, cy + r);
        context.stroke();
      } else if (outcome === FAILED) {
        const r = small ? Math.max(1.2, tall / 2) : Math.min(5, wide / 2 - 1, tall / 2 - 1);
        if (!small) { context.fillStyle = colours.surface; context.fillRect(x, top, wide, tall); }
        context.fillStyle = colours.warning;
        context.beginPath();
        context.moveTo(cx, cy - r); context.lineTo(cx + r, cy + r); context.lineTo(cx - r, cy + r);
        context.fill();
      } else if (outcome === 0 && round.n !== open && !small) {
        context.fillStyle = colours.surface;
        context.fillRect(x, top, wide, tall);
        context.fillStyle = colours.faint;
        context.fillRect(cx - 3, cy - 0.75, 6, 1.5);
      } else if (one[CELL.cosine] < AGAINST) {
        context.fillStyle = colours.attacker;
        const r = small ? 1.5 : Math.min(5, wide / 2 - 1, tall / 2 - 1);
        context.beginPath();
        context.moveTo(cx, cy - r); context.lineTo(cx + r, cy); context.lineTo(cx, cy + r); context.lineTo(cx - r, cy);
        context.closePath();
        context.fill();
        if (!small) { context.strokeStyle = colours.surface; context.lineWidth = 1.25; context.stroke(); }
      }
    }
  }
}

// Neighbouring labels differ in light, not only in hue, so that their edges show for everybody.
const LABELS = ["#0b68ad", "#f2a45c", "#17775a", "#e7c9e0", "#96327f", "#a9d6ff", "#8a5a00", "#8fd9bc", "#5b656e", "#e8c06a"];
export const labelColour = (label) => LABELS[label % LABELS.length];

let mixed = null, mixedOf = "";

// Painted anew only where another part of the list is in sight, or a mix has changed.
function mixes(context, first, last, y, left, width) {
  const { devices, row, height } = frame, ratio = devicePixelRatio || 1;
  const key = [first, last, y(first), left, width, row, height, ratio, store.mixVersion, devices[first]?.i, order.by, order.down, order.search].join();
  if (key !== mixedOf || order.by !== "name") {
    mixedOf = key;
    mixed = new OffscreenCanvas(Math.ceil(width * ratio), Math.ceil(height * ratio));
    const pen = mixed.getContext("2d");
    pen.scale(ratio, ratio);
    paintMixes(pen, first, last, y, 0, width);
  }
  context.drawImage(mixed, left, 0, mixed.width / ratio, mixed.height / ratio);
}

function paintMixes(context, first, last, y, left, width) {
  const { devices, row } = frame;
  for (let index = first; index < last; index += 1) {
    const counts = devices[index].labels, all = counts.reduce((sum, each) => sum + each, 0);
    if (!all) continue;
    let x = left;
    for (const [label, each] of counts.entries()) {
      const wide = each / all * width;
      if (!each) continue;
      context.fillStyle = labelColour(label);
      context.fillRect(x, y(index) + (row > 12 ? 2 : 0), Math.max(0.5, wide - (wide > 3 && row > 12 ? 1 : 0)), Math.max(1, row - (row > 12 ? 5 : 1)));
      x += wide;
    }
  }
}

function fit(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let cut = text.length;
  while (cut > 1 && context.measureText(`${text.slice(0, cut)}…`).width > width) cut -= 1;
  return `${text.slice(0, cut)}…`;
}

function explain() {
  const bar = element("canvas", { "aria-hidden": "true" });
  const context = sized(bar, 90, 10);
  for (let x = 0; x < 90; x += 1) { context.fillStyle = rampColour(x / 89); context.fillRect(x, 0, 1.2, 10); }
  const sign = (drawing) => {
    const one = element("canvas", { "aria-hidden": "true" }), pen = sized(one, 12, 12);
    drawing(pen);
    return one;
  };
  const cross = sign((pen) => { pen.strokeStyle = colours.attacker; pen.lineWidth = 2; pen.beginPath(); pen.moveTo(2, 2); pen.lineTo(10, 10); pen.moveTo(10, 2); pen.lineTo(2, 10); pen.stroke(); });
  const wedge = sign((pen) => { pen.fillStyle = colours.warning; pen.beginPath(); pen.moveTo(6, 1); pen.lineTo(11, 11); pen.lineTo(1, 11); pen.fill(); });
  const dash = sign((pen) => { pen.fillStyle = colours.faint; pen.fillRect(2, 5.25, 8, 1.5); });
  const diamond = sign((pen) => { pen.fillStyle = colours.attacker; pen.beginPath(); pen.moveTo(6, 1); pen.lineTo(11, 6); pen.lineTo(6, 11); pen.lineTo(1, 6); pen.fill(); });
  legend.replaceChildren(
    frame.measured ? element("span", {}, `local accuracy ${percent(frame.low, 0)}`, bar, "100 %") : "",
    element("span", {}, diamond, "pulls against"), element("span", {}, cross, "rejected"),
    element("span", {}, wedge, "failed"), element("span", {}, dash, "missing"));
}

function at(event) {
  const box = parts.canvas.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  const index = Math.floor((y - HEAD + parts.scroller.scrollTop) / frame.row);
  const device = frame.devices[index];
  if (!device || y < HEAD) return null;
  if (x < frame.names || (frame.mix && x > parts.canvas.clientWidth - frame.mix - 6)) return { index, device, column: -1 };
  const column = Math.floor((x - frame.names) / frame.column);
  return column < frame.rounds.length ? { index, device, column } : null;
}

function words(hit) {
  const title = display(hit.device);
  if (hit.column < 0) {
    const counts = hit.device.labels, all = counts.reduce((sum, each) => sum + each, 0);
    const most = [...counts.entries()].filter(([, each]) => each).sort((a, b) => b[1] - a[1]).slice(0, 6);
    return [title, [["samples", count(hit.device.samples)], ...most.map(([label, each]) => [`label ${label}`, percent(each / all, 0)])]];
  }
  const round = frame.rounds[hit.column], one = cell(round.n, hit.device.i);
  if (!one) return [`${title}, round ${round.n}`, [[store.cells.has(round.n) ? "not selected" : "its details are no longer kept"]]];
  const open = round.n === store.head?.open;
  const outcome = OUTCOME[one[CELL.outcome]];
  return [`${title}, round ${round.n}`, [
    ["outcome", outcome === "selected" ? open ? "at work" : "missing" : outcome],
    one[CELL.local] != null && ["local", percent(one[CELL.local])], one[CELL.received] != null && ["received", percent(one[CELL.received])],
    one[CELL.norm] != null && ["norm", significant(one[CELL.norm])], one[CELL.cosine] != null && ["cosine", signed(one[CELL.cosine])],
    one[CELL.detail] && [one[CELL.detail]]]];
}

function say(hit, x, y) { const [title, rows] = words(hit); showTip(x, y, title, rows); }

function move(event) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (event.key === "Enter" && focus) { openDevice(frame.devices[focus.index].i); event.preventDefault(); return; }
  if (event.key === "Escape") { focus = null; hideTip(); paint(); return; }
  if (!steps || !frame.devices.length || !frame.rounds.length) return;
  event.preventDefault();
  focus = focus ? { index: focus.index + steps[0], column: focus.column + steps[1] } : { index: 0, column: frame.rounds.length - 1 };
  focus.index = Math.max(0, Math.min(frame.devices.length - 1, focus.index));
  focus.column = Math.max(0, Math.min(frame.rounds.length - 1, focus.column));
  const top = focus.index * frame.row, { scroller } = parts;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  if (top + frame.row > scroller.scrollTop + frame.height - HEAD) scroller.scrollTop = top + frame.row - frame.height + HEAD;
  paint();
  const box = parts.canvas.getBoundingClientRect(), hit = { ...focus, device: frame.devices[focus.index] };
  const [title, rows] = words(hit);
  parts.said.textContent = `${title}: ${rows.filter(Boolean).map((pair) => pair.join(" ")).join(", ")}`;
  requestAnimationFrame(() => showTip(box.left + frame.names + (focus?.column ?? 0) * frame.column, box.top + HEAD + top - scroller.scrollTop, title, rows));
}

const here = panel(where, ["cells", "rounds", "devices"], draw);
onTheme(() => { here.dirty = true; });
