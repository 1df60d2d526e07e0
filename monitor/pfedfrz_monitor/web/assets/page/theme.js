// The colours of the style sheet for what is drawn on a canvas, and the switch between them.

const names = ["background", "surface", "sunken", "text", "faint", "line", "received", "local",
  "attacker", "warning", "good", "heat-0", "heat-1", "heat-2", "heat-3", "heat-4"];
export const colours = {};
export let ramp = [];
let watchers = [];

const channels = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);

function read() {
  const probe = document.createElement("i");
  document.body.append(probe);
  for (const name of names) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  const stops = [0, 1, 2, 3, 4].map((step) => channels(colours[`heat-${step}`]));
  ramp = Array.from({ length: 101 }, (_, index) => {
    const place = index / 25, low = Math.min(3, Math.floor(place)), share = place - low;
    return stops[low].map((value, at) => Math.round(value + (stops[low + 1][at] - value) * share));
  });
}

export const withAlpha = (colour, alpha) => `rgb(${channels(colour).join(" ")} / ${alpha})`;
export const rampColour = (share) => `rgb(${ramp[Math.max(0, Math.min(100, Math.round(share * 100)))].join(" ")})`;
export const isDark = () => channels(colours.background)[0] < 128;

export function onTheme(react) { watchers.push(react); }

function changed() {
  read();
  for (const react of watchers) react();
}

export function switchTheme() {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem("pfedfrz-theme", next); } catch { /* for this page alone, then */ }
  changed();
}

read();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
