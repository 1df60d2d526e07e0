// One device in full, and what an operator may do with it.
import { by, element } from "./dom.js";
import { ago, bytes, count, percent, seconds, significant, signed } from "./format.js";
import { CELL, display, isOwnName, now, store } from "./store.js";
import { colours, withAlpha } from "./theme.js";
import { ask, mayAct } from "./controls.js";

const dialog = by("device-dialog");
const ACTIONS = {
  accept: ["Accept", (device) => device.standing === "waiting"],
  readmit: ["Readmit", (device) => device.standing === "quarantined"],
  quarantine: ["Quarantine", (device) => device.standing === "enrolled"],
  revoke: ["Revoke…", (device) => device.standing !== "revoked"],
};

const measured = (share, round) => share == null ? "–" : `${percent(share)} in round ${round}`;

export function openDevice(index) {
  const device = store.devices[index];
  if (!device) return;
  const facts = [
    ["State", device.standing === "enrolled" ? device.waitingFor ? `${device.presence}: ${device.waitingFor}` : device.presence : `${device.standing}${device.refusal ? `: ${device.refusal}` : ""}`],
    ["Doing", device.doing ? `${device.doing}, round ${device.stageRound}` : "–"],
    ["Received", measured(device.received, device.latestRound)],
    ["Local", device.local != null ? measured(device.local, device.latestRound) : measured(device.lastLocal, device.localRound)],
    ["Norm, cosine of its last update", `${significant(device.norm)}, ${signed(device.cosine)}`],
    ["Updates accepted, rejected; failures", `${count(device.accepted)}, ${count(device.rejected)}; ${count(device.failures)}`],
    ["Training, downloads", `${seconds(device.trainS)}, ${bytes(device.downloaded)}`],
    ["Samples", count(device.samples)], ["Runtime", device.runtime || "–"],
    ["Heard", device.heardAt ? ago(now() - device.heardAt) : "–"],
  ];
  const canvas = element("canvas", { role: "img", "aria-label": "Its received and local accuracy over the rounds" });
  const chart = element("div", { class: "device-chart" }, canvas);
  const acts = element("div", { class: "acts" });
  const close = element("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => dialog.close() }, "×");
  dialog.replaceChildren(
    element("div", { class: "dialog-head" }, element("h2", { id: "device-name" }, display(device), isOwnName(device) ? element("small", {}, device.name) : null), close),
    chart, element("dl", {}, ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))), acts);
  if (mayAct()) {
    for (const [type, [title, fits]] of Object.entries(ACTIONS)) {
      if (!fits(device)) continue;
      acts.append(element("button", { type: "button", class: type === "revoke" ? "act danger" : "act", "data-action": type, onclick: () => type === "revoke" ? confirm(acts, device) : act(type, device) }, title));
    }
  }
  if (!dialog.open) dialog.showModal();
  drawDevice(canvas, device);
}

async function act(type, device) {
  const body = { type, device: device.name };
  if (type === "quarantine") body.reason = "by the operator";
  if ((await ask(body)).done) dialog.close();
}

function confirm(acts, device) {
  const really = element("button", { type: "button", class: "act danger", "data-action": "really-revoke", onclick: () => act("revoke", device) }, "Revoke its key");
  const back = element("button", { type: "button", class: "act", onclick: () => { question.remove(); acts.hidden = false; } }, "Keep it");
  const question = element("div", { class: "confirm", role: "alert" },
    element("p", {}, `The key of ${device.name} will be good for nothing, for ever. To come back, the device needs another key.`),
    element("div", { class: "acts" }, really, back));
  acts.hidden = true;
  acts.after(question);
  back.focus();
}

function drawDevice(canvas, device) {
  const width = canvas.parentElement.clientWidth, height = canvas.parentElement.clientHeight;
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio; canvas.height = height * ratio;
  canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  pen.textBaseline = "middle";
  const rounds = store.rounds.filter((round) => store.cells.get(round.n)?.has(device.i));
  const y = (share) => 8 + (1 - share) * (height - 26);
  for (const share of [0, 0.5, 1]) {
    pen.strokeStyle = withAlpha(colours.line, 1);
    pen.beginPath(); pen.moveTo(42, Math.round(y(share)) + 0.5); pen.lineTo(width, Math.round(y(share)) + 0.5); pen.stroke();
    pen.fillStyle = colours.faint; pen.textAlign = "right";
    pen.fillText(percent(share, 0), 36, y(share));
  }
  if (!rounds.length) return;
  const first = rounds[0].n, span = Math.max(1, rounds.at(-1).n - first), x = (n) => 48 + (n - first) / span * (width - 58);
  for (const [at, colour, dash] of [[CELL.received, colours.received, [5, 4]], [CELL.local, colours.local, []]]) {
    pen.strokeStyle = pen.fillStyle = colour; pen.lineWidth = 2; pen.setLineDash(dash); pen.lineJoin = "round";
    pen.beginPath();
    const known = rounds.map((round) => [round.n, store.cells.get(round.n).get(device.i)[at]]).filter(([, value]) => value != null);
    known.forEach(([n, value], index) => index ? pen.lineTo(x(n), y(value)) : pen.moveTo(x(n), y(value)));
    pen.stroke();
    pen.setLineDash([]);
    if (known.length < 30) for (const [n, value] of known) { pen.beginPath(); pen.arc(x(n), y(value), 2.5, 0, 7); pen.fill(); }
  }
  pen.fillStyle = colours.faint; pen.textAlign = "left";
  pen.fillText(`round ${first}`, 48, height - 7);
  pen.textAlign = "right";
  if (rounds.length > 1) pen.fillText(String(rounds.at(-1).n), width - 2, height - 7);
}

dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
