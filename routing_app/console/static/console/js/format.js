// Numbers, sizes and times as people read them. Everything here returns a string.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const few = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];
export const NOTHING = "–";

export function number(value) {
  return value === null || value === undefined ? NOTHING : whole.format(value);
}

// 0, 0.25, 3.1, 42, 1,234
export function rate(value) {
  if (value === null || value === undefined) return NOTHING;
  return value === 0 || value >= 100 ? whole.format(value) : few.format(value);
}

export function perSecond(value) {
  return `${rate(value)}/s`;
}

export function bytes(value) {
  if (value === null || value === undefined) return NOTHING;
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < SIZES.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit === 0 ? whole.format(size) : few.format(size)} ${SIZES[unit]}`;
}

// A duration below some seconds: 350 µs, 1.2 ms, 2.5 s
export function seconds(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value < 0.001) return `${few.format(value * 1e6)} µs`;
  if (value < 1) return `${few.format(value * 1000)} ms`;
  return `${few.format(value)} s`;
}

// A longer one: 12 s, 3 min 5 s, 2 h 10 min, 5 d 3 h
export function age(value) {
  if (value === null || value === undefined) return NOTHING;
  const all = Math.max(0, Math.floor(value));
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min ${all % 60} s`;
  if (all < 86400) return `${Math.floor(all / 3600)} h ${Math.floor((all % 3600) / 60)} min`;
  return `${Math.floor(all / 86400)} d ${Math.floor((all % 86400) / 3600)} h`;
}

export function since(at, now = Date.now() / 1000) {
  return age(now - at);
}

export function percent(share) {
  return share === null || share === undefined ? NOTHING : `${few.format(share * 100)} %`;
}

export function time(at) {
  return clock.format(at * 1000);
}

export function moment(at) {
  return day.format(at * 1000);
}

export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}
