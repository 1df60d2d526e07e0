// The state in a line, the open round, and the numbers that matter most.
import { by, element, setText } from "./dom.js";
import { bytes, count, percent, plural, seconds } from "./format.js";
import { closedRounds, now, openRound, progressOf, store } from "./store.js";
import { drawPause } from "./controls.js";
import { panel } from "./view.js";

const tiles = by("tiles");
const made = new Map();

function state() {
  const head = store.head;
  if (!store.connected) return ["lost", "monitor lost"];
  if (!head) return ["lost", "connecting"];
  if (head.desired === "stop") return ["over", "over"];
  if (!head.connected) return ["lost", "broker lost"];
  if (!head.heard) return ["lost", "not heard"];
  if (head.coordinator === "offline") return ["lost", "coordinator away"];
  if (head.desired === "pause") return ["paused", head.open ? "pausing after this round" : "paused"];
  if (!head.open) return ["waiting", "waiting"];
  return ["running", "running"];
}

// Faults are written to stand behind a colon.
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

function notice(kind) {
  const head = store.head, online = store.devices.filter((device) => device?.presence === "online").length;
  const others = head?.federations?.filter((name) => name !== store.federation) ?? [];
  if (!head) return store.connected ? null : ["", "Connecting to the monitor."];
  if (!store.connected) return ["Connection to the monitor lost", "The page tries again by itself; what it shows is from before."];
  if (head.desired === "stop") return null;
  if (!head.connected) return ["Connection to the broker lost", `${sentence(head.fault || "it is tried again")} What the page shows is from before.`];
  if (!head.heard) return [`Connected to ${head.source}, but ${store.federation} is not heard`,
    others.length ? `Seen on this broker: ${others.slice(0, 12).join(", ")}${others.length > 12 ? " and others" : ""}.` : "No coordinator has spoken on this broker, as far as this account may see."];
  if (head.coordinator === "offline") return ["The coordinator is away", "Devices keep their updates until it is back."];
  if (head.hopeless) return ["No update can come in this round", "Every device that was asked has failed or was rejected."];
  if (head.fault) return ["", sentence(head.fault)];
  if (!store.rounds.length) return ["Waiting for devices", `${plural(online, "device is", "devices are")} there; the first round opens when there are enough.`, true];
  if (kind === "paused" && !head.open) return ["Paused", "No further round is opened until somebody resumes.", true];
  return null;
}

function drawBar() {
  const [kind, text] = state(), head = store.head ?? {}, open = openRound();
  if (by("dot").dataset.state !== kind) by("dot").dataset.state = kind;
  setText(by("state"), text);
  setText(by("federation"), store.federation || "pfedfrz");
  by("federation").title = store.federation;
  const title = `${open ? `Round ${open.n} · ` : ""}${store.federation || "pfedfrz"} · ${text}`;
  if (document.title !== title) document.title = title;
  setText(by("source"), head.source ?? "");
  setText(by("rate"), !head.source ? "" : head.speed ? `speed ${head.speed}×` : `${count(head.rate ?? 0)} messages/s`);
  drawRound(open);
  drawPause();
  const said = notice(kind);
  const box = by("notice");
  if (box.dataset.locked) return;
  box.hidden = !said;
  if (said) {
    box.classList.toggle("calm", Boolean(said[2]));
    setText(by("notice-title"), said[0]);
    setText(by("notice-text"), said[1]);
  }
}

function drawRound(open) {
  const bar = by("progress"), last = closedRounds().at(-1);
  bar.hidden = !open;
  if (!open) {
    setText(by("now-round"), !last ? "" : last.evaluates ? "Last model measured" : `Round ${last.n} closed`);
    setText(by("now-detail"), last?.durationS != null ? `after ${seconds(last.durationS)}` : "");
    return;
  }
  const done = progressOf(open), settled = done.accepted + done.rejected + done.failed;
  const left = open.openedAt ? open.openedAt + open.deadlineS - now() : null;
  const what = open.evaluates ? "evaluated" : "delivered";
  setText(by("now-round"), open.evaluates ? `Measuring, round ${open.n}` : `Round ${open.n}`);
  setText(by("now-detail"), [`${count(done.accepted)} of ${count(open.selected)} ${what}`,
    done.rejected && `${count(done.rejected)} rejected`, done.failed && `${count(done.failed)} failed`,
    left !== null && (left > 0 ? `at most ${seconds(Math.max(1, Math.ceil(left)))} left` : "the deadline is over")].filter(Boolean).join(" · "));
  for (const part of bar.children) part.style.width = `${done[part.className] / Math.max(1, open.selected) * 100}%`;
  bar.setAttribute("aria-valuemax", open.selected);
  bar.setAttribute("aria-valuenow", settled);
}

function tile(key, title, value, unit, under) {
  let here = made.get(key);
  if (!here) {
    const parts = [element("span"), element("small")];
    here = { parts, under: element("dd"), box: element("div", { class: `tile ${key}` }, element("dt", {}, title), element("dd", {}, ...parts)) };
    here.box.append(here.under);
    tiles.append(here.box);
    made.set(key, here);
  }
  setText(here.parts[0], value);
  setText(here.parts[1], unit);
  setText(here.under, under);
}

const split = (text) => { const at = text.lastIndexOf(" "); return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)]; };

function drawTiles() {
  const closed = closedRounds(), of = (name) => closed.filter((round) => round[name] != null);
  const trend = (name) => {
    const rounds = of(name);
    if (!rounds.length) return "after the first round";
    if (rounds.length < 2) return `in round ${rounds[0].n}`;
    const step = (rounds.at(-1)[name] - rounds.at(-2)[name]) * 100;
    return `${step < -0.05 ? "−" : "+"}${Math.abs(step).toFixed(1)} ${rounds.at(-1).evaluates ? "in the last model" : `in round ${rounds.at(-1).n}`}`;
  };
  const devices = store.devices.filter(Boolean);
  const online = devices.filter((device) => device.presence === "online").length;
  const waiting = devices.filter((device) => device.presence === "waiting").length;
  const kept = devices.filter((device) => device.standing !== "enrolled").length;
  const sum = (name) => closed.reduce((all, round) => all + (round[name] ?? 0), 0);
  tile("local", "Local accuracy", ...split(percent(of("local").at(-1)?.local)), trend("local"));
  tile("received", "Received accuracy", ...split(percent(of("received").at(-1)?.received)), trend("received"));
  tile("here", "Devices online", count(online), `of ${count(Math.max(devices.length, store.head?.enrolled ?? 0))}`,
    [waiting && `${count(waiting)} waiting`, kept && `${count(kept)} kept out`].filter(Boolean).join(", ") || "none kept out");
  const rejected = sum("rejected"), missing = sum("missing");
  tile("rejects", "Updates rejected", count(rejected), closed.length ? `of ${count(sum("accepted") + rejected)}` : "", missing ? `${count(missing)} missing` : "none missing");
  tile("traffic", "Traffic", ...split(bytes(sum("up") + sum("down"))), `${bytes(sum("down"))} down, ${bytes(sum("up"))} up`);
  const trained = of("durationS").filter((round) => !round.evaluates).at(-1);
  tile("work", "Training on devices", ...split(seconds(sum("trainS"))), trained ? `last round took ${seconds(trained.durationS)}` : "after the first round");
}

panel(by("dot").closest("header"), ["head", "rounds", "cells", "devices"], drawBar);
panel(tiles, ["rounds", "devices", "head"], drawTiles);
setInterval(() => { if (!document.hidden && openRound()) drawRound(openRound()); }, 1000);
export const drawHeader = drawBar;
