// The chunk map: a canvas as large as what is seen of it, however many chunks there are. It is a slider to whoever
// does not see it: its value is the cell that has the focus, told in words.
import { element, write } from "./page.js";
import { CODES, GAP, SENDING } from "./cells.js";
import * as words from "./words.js";

const SIZES = [7, 9, 12, 16, 22, 30];
const MARKED_MIN = 16;
const SHAPED_MIN = 7;
const HEIGHT_MAX = 300;
const MARGIN = 4; // for the ring around the focus
const MARKS = ["-", "+", "~", "=", "!", "x", "", "", "›"];
export const SAYS = {
  gap: "never pushed",
  waiting: "waiting",
  sending: "being sent",
  acknowledged: "acknowledged, checksum not confirmed",
  confirmed: "confirmed",
  parked: "parked",
  discarded: "discarded",
  pruned: "delivered, and pruned here",
};

const nameOf = (code) => (code === SENDING ? "sending" : CODES[code]);

export class ChunkMap {
  // `parts`: the elements; `choose` is called with the index of a chunk.
  constructor(cells, parts, choose) {
    Object.assign(this, parts);
    this.cells = cells;
    this.choose = choose;
    this.each = 1; // how many chunks a cell stands for
    this.size = 22;
    this.isFit = true;
    this.focus = 0; // the number of the first chunk's cell under the focus
    this.isDue = false;
    this.#listen();
    this.#readColours();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#readColours();
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(this.frame);
    this.frame.addEventListener("scroll", () => this.draw());
  }

  get columns() {
    return Math.max(1, Math.floor(this.width / this.size));
  }

  get lines() {
    return Math.ceil(Math.ceil(this.cells.length / this.each) / this.columns);
  }

  draw() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.#paint();
    });
  }

  #fit() {
    const total = this.cells.length;
    for (const size of [...SIZES].reverse()) {
      const fits = Math.floor(this.width / size) * Math.floor(HEIGHT_MAX / size);
      if (total <= fits) return [size, 1];
    }
    const room = Math.floor(this.width / SIZES[0]) * Math.floor(HEIGHT_MAX / SIZES[0]);
    let each = 2;
    while (total > room * each) each *= 2;
    return [SIZES[0], each];
  }

  zoom(step) {
    const [size, each] = this.#fit();
    if (this.isFit) [this.size, this.each] = [size, each];
    if (step > 0) {
      if (this.each > 1) this.each /= 2;
      else this.size = SIZES[Math.min(SIZES.length - 1, SIZES.indexOf(this.size) + 1)];
    } else if (step < 0) {
      if (this.size > SIZES[0]) this.size = SIZES[SIZES.indexOf(this.size) - 1];
      else this.each *= 2;
    }
    this.isFit = step === 0 || this.each > each || (this.each === each && this.size <= size);
    this.#paint();
    this.#reveal();
    this.say();
  }

  #paint() {
    this.width = this.frame.clientWidth - 16 - 2 * MARGIN;
    if (this.width < SIZES[0]) return;
    if (this.isFit) [this.size, this.each] = this.#fit();
    const { size, columns } = this;
    const whole = Math.max(1, this.lines) * size;
    const height = Math.min(whole, HEIGHT_MAX);
    const ratio = devicePixelRatio || 1;
    const outer = [this.width + 2 * MARGIN, height + 2 * MARGIN];
    const [pixelsAcross, pixelsDown] = outer.map((side) => Math.round(side * ratio));
    if (this.canvas.width !== pixelsAcross || this.canvas.height !== pixelsDown) {
      [this.canvas.width, this.canvas.height] = [pixelsAcross, pixelsDown];
      this.canvas.style.height = `${outer[1]}px`;
    }
    this.room.style.height = `${whole - height}px`;
    const top = Math.floor(this.frame.scrollTop / size);
    const lines = Math.ceil(height / size) + 1;
    const shift = top * size - Math.min(this.frame.scrollTop, whole - height);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, ...outer);
    pen.translate(MARGIN, MARGIN);
    const codes = this.cells.gravest(top * columns * this.each, lines * columns, this.each);
    codes.forEach((code, k) => {
      if (code !== 255) {
        drawCell(pen, (k % columns) * size, Math.floor(k / columns) * size + shift, size, code, this.colours);
      }
    });
    this.#paintFocus(pen, top, shift);
    this.canvas.setAttribute("aria-valuemax", String(Math.max(0, this.cells.length - 1)));
    this.say();
    this.painted?.();
  }

  #paintFocus(pen, top, shift) {
    if (document.activeElement !== this.canvas || !this.cells.length) return;
    const cell = Math.floor(this.focus / this.each);
    const x = (cell % this.columns) * this.size;
    const y = (Math.floor(cell / this.columns) - top) * this.size + shift;
    pen.lineWidth = 2;
    pen.strokeStyle = this.colours.ground;
    pen.strokeRect(x - 1, y - 1, this.size + 1, this.size + 1);
    pen.strokeStyle = this.colours.ink;
    pen.strokeRect(x - 3, y - 3, this.size + 5, this.size + 5);
  }

  #reveal() {
    const y = Math.floor(Math.floor(this.focus / this.each) / this.columns) * this.size;
    const height = Math.min(this.lines * this.size, HEIGHT_MAX);
    if (y < this.frame.scrollTop) this.frame.scrollTop = y;
    if (y + this.size > this.frame.scrollTop + height) this.frame.scrollTop = y + this.size - height;
  }

  // The focused cell in words, for everybody.
  describe(place) {
    if (!this.cells.length) return "no chunks yet";
    const first = Math.floor(place / this.each) * this.each;
    const { first: lowest, last, counts } = this.cells.span(first, Math.min(first + this.each, this.cells.length));
    const told = tally(counts);
    if (lowest === last) return `chunk ${words.number(lowest)}: ${told[0]?.[0] ?? "never pushed"}`;
    const all = told.map(([says, amount]) => `${words.number(amount)} ${says}`).join(", ");
    return `chunks ${words.number(lowest)} to ${words.number(last)}: ${all}`;
  }

  say() {
    const text = this.describe(this.focus);
    if (this.canvas.getAttribute("aria-valuetext") !== text) {
      this.canvas.setAttribute("aria-valuenow", String(this.focus));
      this.canvas.setAttribute("aria-valuetext", text);
    }
    const isOver = this.hovered !== undefined && this.hovered < this.cells.length;
    const shown = isOver ? this.describe(this.hovered) : text;
    write(this.cellSaid, shown.charAt(0).toUpperCase() + shown.slice(1));
  }

  moveTo(place) {
    if (!this.cells.length) return;
    this.focus = Math.max(0, Math.min(place, this.cells.length - 1));
    this.focus -= this.focus % this.each;
    this.#reveal();
    this.say();
    this.draw();
  }

  next() {
    const from = this.focus + this.each - 1;
    const found = this.cells.nextGrave(from);
    const place = found >= 0 ? found : this.cells.nextGrave(-1);
    if (place < 0) return false;
    this.moveTo(place);
    return true;
  }

  #enter() {
    if (!this.cells.length) return;
    if (this.each > 1) {
      this.isFit = false;
      this.each = Math.max(1, this.each / 16);
      this.#paint();
      this.moveTo(this.focus);
      return;
    }
    const { first } = this.cells.span(this.focus, this.focus + 1);
    this.choose(first);
  }

  #placeUnder(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - MARGIN) / this.size);
    const line = Math.floor((event.clientY - box.top - MARGIN + this.frame.scrollTop) / this.size);
    if (column < 0 || column >= this.columns) return undefined;
    return (line * this.columns + column) * this.each;
  }

  #listen() {
    const keys = {
      ArrowRight: () => this.moveTo(this.focus + this.each),
      ArrowLeft: () => this.moveTo(this.focus - this.each),
      ArrowDown: () => this.moveTo(this.focus + this.columns * this.each),
      ArrowUp: () => this.moveTo(this.focus - this.columns * this.each),
      PageDown: () => this.moveTo(this.focus + 10 * this.columns * this.each),
      PageUp: () => this.moveTo(this.focus - 10 * this.columns * this.each),
      Home: () => this.moveTo(0),
      End: () => this.moveTo(this.cells.length - 1),
      "+": () => this.zoom(1),
      "=": () => this.zoom(1),
      "-": () => this.zoom(-1),
      0: () => this.zoom(0),
      n: () => this.next(),
      N: () => this.next(),
      Enter: () => this.#enter(),
      " ": () => this.#enter(),
    };
    this.canvas.addEventListener("keydown", (event) => {
      const act = keys[event.key];
      if (!act || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      act();
    });
    this.canvas.addEventListener("click", (event) => {
      const place = this.#placeUnder(event);
      if (place === undefined || place >= this.cells.length) return;
      this.moveTo(place);
      this.#enter();
    });
    this.canvas.addEventListener("pointermove", (event) => {
      this.hovered = this.#placeUnder(event);
      this.say();
    });
    this.canvas.addEventListener("pointerleave", () => {
      this.hovered = undefined;
      this.say();
    });
    for (const kind of ["focus", "blur"]) this.canvas.addEventListener(kind, () => this.draw());
  }

  #readColours() {
    const style = getComputedStyle(document.documentElement);
    const names = ["ground", "ink", "mark", "raised", ...new Set(CODES), "sending"];
    this.colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  showLegend(list, counts) {
    const told = JSON.stringify([counts, this.colours]);
    if (this.legend === told) return;
    this.legend = told;
    const entries = [...new Set(CODES)].map((name) => [name, counts[CODES.indexOf(name)]]);
    entries.splice(2, 0, ["sending", this.cells.sending === null ? 0 : 1]);
    const shown = entries.filter(([, amount]) => amount);
    list.replaceChildren(
      ...shown.map(([name, amount]) => {
        const key = element("canvas", { width: "28", height: "28", "aria-hidden": "true" });
        const pen = key.getContext("2d");
        pen.scale(28 / 16, 28 / 16);
        drawCell(pen, 0, 0, 17, name === "sending" ? SENDING : CODES.indexOf(name), this.colours);
        return element("li", {}, key, `${SAYS[name]}: ${words.number(amount)}`);
      }),
    );
  }
}

function tally(counts) {
  const found = new Map();
  counts.forEach((amount, code) => {
    if (amount) found.set(SAYS[nameOf(code)], (found.get(SAYS[nameOf(code)]) ?? 0) + amount);
  });
  return [...found];
}

// One cell; told apart by shape too, not by colour alone.
function drawCell(pen, x, y, size, code, colours) {
  const gap = size > 10 ? 2 : 1;
  const side = size - gap;
  const middle = side / 2;
  pen.fillStyle = colours[nameOf(code)];
  if (code === GAP) {
    pen.fillRect(x + middle - side / 6, y + middle - side / 6, side / 3, side / 3);
    return;
  }
  pen.fillRect(x, y, side, side);
  if (size >= MARKED_MIN) {
    pen.fillStyle = colours.mark;
    pen.font = `600 ${Math.round(side * 0.62)}px ui-monospace, monospace`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(MARKS[code], x + middle, y + middle + side * 0.04);
  } else if (size >= SHAPED_MIN) {
    pen.fillStyle = colours.raised;
    const name = nameOf(code);
    const line = Math.max(1, Math.round(side / 6));
    if (name === "waiting") pen.fillRect(x + line, y + line, side - 2 * line, side - 2 * line);
    if (name === "sending") pen.fillRect(x + line, y + line, side - 2 * line, middle - line);
    if (name === "parked") pen.fillRect(x + middle - line / 2, y + line, line, side - 2 * line);
    if (name === "discarded") pen.fillRect(x + line, y + middle - line / 2, side - 2 * line, line);
  }
}
