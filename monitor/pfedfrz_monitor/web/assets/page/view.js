// When to draw: what changed, and only where somebody looks. At most twice a second.

const LEAST_MS = 500;
const panels = [];
let last = 0, timer = null;

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const panel = panels.find((one) => one.where === entry.target);
    panel.visible = entry.isIntersecting;
  }
  soon();
}, { rootMargin: "120px" });

const resized = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const panel = panels.find((one) => one.where === entry.target);
    const width = Math.round(entry.contentRect.width);
    const height = Math.round(entry.contentRect.height);
    if (panel.width !== width || panel.height !== height) Object.assign(panel, { width, height, dirty: true });
  }
  soon(true);
});

export function panel(where, parts, draw) {
  const made = { where, parts, draw, visible: false, dirty: true, width: -1, height: -1 };
  panels.push(made);
  seen.observe(where);
  resized.observe(where);
  return made;
}

export function changed(parts) {
  for (const one of panels) if (one.parts.some((part) => parts.has(part))) one.dirty = true;
  soon();
}

export function redraw(...which) {
  for (const one of panels) if (!which.length || which.includes(one)) one.dirty = true;
  soon(true);
}

function soon(atOnce = false) {
  if (timer !== null && !atOnce) return;
  clearTimeout(timer);
  const wait = atOnce ? 0 : Math.max(0, LEAST_MS - (performance.now() - last));
  timer = setTimeout(() => requestAnimationFrame(frame), wait);
}

function frame() {
  timer = null;
  last = performance.now();
  for (const one of panels) {
    if (!one.dirty || !one.visible) continue;
    one.dirty = false;
    one.draw();
  }
}

// What somebody has picked: a round, or the latest one.
export const picked = { round: 0 };

export function pick(round) {
  picked.round = round;
  redraw();
}
