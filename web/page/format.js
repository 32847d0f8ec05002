// Numbers for people.

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n) => (n < 10_000 ? number.format(n) : compact.format(n));

export function bytes(n) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  for (; Math.abs(n) >= 1024 && unit < units.length - 1; unit++) n /= 1024;
  return `${number.format(n)} ${units[unit]}`;
}

export function micros(us) {
  if (us < 1000) return `${number.format(us)} µs`;
  return us < 1e6 ? `${number.format(us / 1000)} ms` : `${number.format(us / 1e6)} s`;
}

export function seconds(s) {
  if (s < 0) return "never";
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return s < 172_800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86_400)} d`;
}

export const time = (ms) => new Date(ms).toLocaleTimeString("en-GB");
