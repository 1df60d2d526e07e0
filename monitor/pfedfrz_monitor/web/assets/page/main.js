// The page: events in, drawings out.
import { by } from "./dom.js";
import { currentToken, findToken, keepToken, pauseOrResume } from "./controls.js";
import { follow } from "./stream.js";
import { store, takeChanges, takeSnapshot } from "./store.js";
import { onTheme, switchTheme } from "./theme.js";
import { changed, pick, redraw } from "./view.js";
import { drawHeader } from "./header.js";
import "./accuracy.js";
import { after, before } from "./updates.js";
import "./strips.js";
import "./fleet.js";
import "./table.js";
import "./reasons.js";
import "./log.js";

const notice = by("notice"), form = by("token-form");

function showLock() {
  notice.hidden = false;
  notice.dataset.locked = "yes";
  by("notice-title").textContent = "This page needs its token";
  by("notice-text").textContent = "It is in the address that the monitor printed when it started.";
  form.hidden = false;
  store.connected = false;
  drawHeader();
  return new Promise((again) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      keepToken(by("token").value.trim());
      form.hidden = true;
      delete notice.dataset.locked;
      again();
    };
  });
}

findToken();
follow(currentToken, {
  event(name, body) {
    const wasLost = !store.connected;
    store.connected = true;
    const parts = name === "snapshot" ? takeSnapshot(body) : takeChanges(body);
    if (wasLost) parts.add("head");
    changed(parts);
    if (name === "snapshot") document.documentElement.dataset.ready = "yes";
  },
  lost() {
    if (store.connected || !store.head) { store.connected = false; changed(new Set(["head"])); }
  },
  locked: showLock,
});

onTheme(() => redraw());
by("theme").addEventListener("click", switchTheme);
by("help").addEventListener("click", () => by("keys-dialog").showModal());
by("keys-dialog").addEventListener("click", (event) => {
  if (event.target === by("keys-dialog") || event.target.closest("[data-close]")) by("keys-dialog").close();
});

const KEYS = {
  "/": () => by("search").focus(), "[": before, "]": after, l: () => pick(0), p: pauseOrResume,
  t: switchTheme, "?": () => by("keys-dialog").showModal(),
};
addEventListener("keydown", (event) => {
  const busy = event.target.closest("input, select, textarea, dialog");
  if (busy || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
