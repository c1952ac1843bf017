// Curves over time, as SVG: what waits, what comes and goes, how bright the frames are. Outages are shaded.
import * as words from "./words.js";

const LEFT = 76;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 26;
const S = 1000;
const STEPS_MS = [
  ...[1, 2, 5, 10, 15, 30].map((k) => k * S),
  ...[1, 2, 5, 10, 15, 30].map((k) => k * 60 * S),
  ...[1, 2, 3, 6, 12].map((k) => k * 3600 * S),
  ...[1, 2, 7, 14, 30, 90, 365].map((k) => k * 86400 * S),
];

function svg(name, attributes = {}, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// `lines`: [{ points: [[ms, amount], …], kind, isArea }]; `say` makes the text of an amount.
export function draw(target, { lines, outages = [], from, until, label, say, height = 170, least = 0, most }) {
  const width = Math.max(280, target.clientWidth);
  const amounts = lines.flatMap((line) => line.points.map(([, amount]) => amount));
  const top = most ?? niceTop(Math.max(...amounts, 1000) - least) + least;
  const span = Math.max(1, until - from);
  const x = (ms) => LEFT + ((ms - from) / span) * (width - LEFT - RIGHT);
  const y = (amount) => height - BOTTOM - ((amount - least) / (top - least || 1)) * (height - TOP - BOTTOM);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label });
  for (const one of outages) {
    const begins = Math.max(from, one.began_ms);
    const ends = Math.min(until, one.ended_ms ?? until);
    if (ends < begins) continue;
    const shade = svg("rect", {
      class: "outage",
      x: x(begins),
      y: TOP,
      width: Math.max(2, x(ends) - x(begins)),
      height: height - TOP - BOTTOM,
    });
    shade.append(svg("title", {}, `${words.moment(one.began_ms)}: ${one.words}`));
    picture.append(shade);
  }
  for (let k = 0; k <= 2; k += 1) {
    const amount = least + ((top - least) * k) / 2;
    picture.append(
      svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(amount), y2: y(amount) }),
      svg("text", { class: "amount", x: LEFT - 8, y: y(amount) }, say(amount)),
    );
  }
  const step = STEPS_MS.find((one) => span / one <= Math.max(2, width / 130)) ?? span;
  for (let ms = Math.ceil(from / step) * step; ms <= until; ms += step) {
    const place = Math.min(Math.max(x(ms), LEFT), width - RIGHT - 28);
    const text = step >= 86400 * S ? words.moment(ms).slice(0, 10) : words.moment(ms, { withDay: false });
    picture.append(
      svg("line", { class: "tick", x1: x(ms), x2: x(ms), y1: height - BOTTOM, y2: height - BOTTOM + 5 }),
      svg("text", { class: "time", x: place, y: height - 6 }, span > 86400 * S && step < 86400 * S ? words.moment(ms).slice(5, 16) : text),
    );
  }
  for (const { points, kind, isArea } of lines) {
    if (!points.length) continue;
    const drawn = points.map(([ms, amount]) => `${x(ms).toFixed(1)} ${y(amount).toFixed(1)}`).join("L");
    if (isArea) {
      const foot = `L${x(points.at(-1)[0]).toFixed(1)} ${y(least)}L${x(points[0][0]).toFixed(1)} ${y(least)}Z`;
      picture.append(svg("path", { class: "area", d: `M${drawn}${foot}` }));
    }
    picture.append(svg("path", { class: kind, d: `M${drawn}` }));
  }
  target.replaceChildren(picture);
}

function niceTop(amount) {
  const power = 10 ** Math.floor(Math.log10(amount));
  return [1, 2, 5, 10].map((k) => k * power).find((one) => one >= amount) ?? amount;
}
