// Numbers and times as people read them, the same everywhere on the page.

export const percent = (share, digits = 1) =>
  share == null ? "–" : `${(share * 100).toFixed(digits)} %`;

export function bytes(count) {
  if (count == null) return "–";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = count, unit = 0;
  while (value >= 999.5 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toPrecision(value < 10 ? 2 : 3)} ${units[unit]}`;
}

export function seconds(value) {
  if (value == null) return "–";
  if (value === 0) return "0 s";
  if (value < 0.95) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 119.5) return `${Math.round(value)} s`;
  if (value < 7170) return `${Math.round(value / 60)} min`;
  return `${(value / 3600).toFixed(value < 36000 ? 1 : 0)} h`;
}

// Coarse on purpose: a table that counts every second is restless and costs redraws.
export function ago(value) {
  if (value < 10) return "now";
  if (value < 60) return `${Math.floor(value / 10) * 10} s ago`;
  return `${seconds(value)} ago`;
}

export const clock = (unix) =>
  new Date(unix * 1000).toLocaleTimeString("en-GB", { hour12: false });

export const count = (value) => value == null ? "–" : value.toLocaleString("en-US").replaceAll(",", "\u202f");

export function significant(value) {
  if (value == null) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e5)) return value.toExponential(1);
  return size >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

export const signed = (value) => value == null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
