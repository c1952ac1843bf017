// Numbers, sizes, lengths of time and moments as people read them: as the command line writes them.
const UNITS = ["kB", "MB", "GB", "TB", "PB"];

export function size(bytes) {
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  let scaled = bytes;
  let unit = "";
  for (unit of UNITS) {
    scaled /= 1000;
    if (scaled < 999.5) break;
  }
  return `${scaled.toFixed(Math.max(0, 2 - (scaled >= 9.995) - (scaled >= 99.95)))} ${unit}`;
}

export function rate(bytesPerS) {
  return bytesPerS ? `${size(bytesPerS)}/s` : "none";
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${two(Math.floor((whole % 86400) / 3600))} h`;
}

export function number(amount) {
  return amount.toLocaleString("en-US");
}

export function count(amount, one, many = `${one}s`) {
  return `${number(amount)} ${amount === 1 ? one : many}`;
}

// In UTC; a moment that no calendar has is told in milliseconds.
export function moment(ms, { digits = 0, withDay = true } = {}) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return `${ms} ms`;
  const text = date.toISOString();
  const time = text.slice(text.indexOf("T") + 1, text.indexOf("T") + 9 + (digits ? 1 + digits : 0));
  return withDay ? `${text.slice(0, text.indexOf("T"))} ${time}` : time;
}
