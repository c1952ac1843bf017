// What became of each chunk, five bytes a chunk: its index and its code. Cells are numbered from 0 without the long
// gaps, of which only a few cells are shown, so that one wild index does not push everything else out of sight.
export const CODES = ["gap", "waiting", "acknowledged", "confirmed", "parked", "discarded", "pruned", "pruned"];
export const [GAP, WAITING, ACKNOWLEDGED, CONFIRMED, PARKED, DISCARDED, PRUNED] = CODES.keys();
export const SENDING = 8;
const UNCHANGED = 255;
const GAP_CELLS_MAX = 50;
// By how grave they are: where a cell stands for several chunks, the gravest shows.
export const GRAVITY = [5, 3, 2, 1, 8, 6, 0, 0, 4];

export class Cells {
  constructor() {
    this.clear();
  }

  clear() {
    this.size = 0;
    this.idxs = new Int32Array(1024);
    this.codes = new Uint8Array(1024);
    this.places = new Int32Array(1024); // the cell of each chunk
    this.sending = null;
  }

  // How many cells there are in all.
  get length() {
    return this.size ? this.places[this.size - 1] + 1 : 0;
  }

  load(bytes) {
    const sending = this.sending;
    this.clear();
    this.sending = sending;
    for (const [code, first, count] of runs(bytes)) {
      if (code !== GAP) this.#append(code, first, count);
    }
  }

  patch(bytes) {
    for (const [code, first, count] of runs(bytes)) {
      if (code !== UNCHANGED) for (let k = 0; k < count; k += 1) this.#set(first + k, code);
    }
  }

  #append(code, first, count) {
    this.#makeRoom(count);
    const before = this.size ? this.idxs[this.size - 1] : -1;
    let place = this.length + Math.min(first - before - 1, GAP_CELLS_MAX);
    for (let k = 0; k < count; k += 1, place += 1) {
      this.idxs[this.size] = first + k;
      this.codes[this.size] = code;
      this.places[this.size] = place;
      this.size += 1;
    }
  }

  #makeRoom(count) {
    if (this.size + count <= this.codes.length) return;
    const room = Math.max(2 * this.codes.length, this.size + count);
    for (const name of ["idxs", "codes", "places"]) {
      const larger = new this[name].constructor(room);
      larger.set(this[name].subarray(0, this.size));
      this[name] = larger;
    }
  }

  #set(idx, code) {
    const at = this.find(idx);
    if (at < this.size && this.idxs[at] === idx) {
      this.codes[at] = code;
    } else if (at === this.size) {
      this.#append(code, idx, 1);
    } else {
      // A chunk that came late, into a gap: what lies above it is appended again.
      const later = this.idxs.slice(at, this.size);
      const codes = this.codes.slice(at, this.size);
      this.size = at;
      this.#append(code, idx, 1);
      later.forEach((one, k) => this.#append(codes[k], one, 1));
    }
  }

  // Where in the arrays the first chunk lies whose index is not below this one.
  find(idx) {
    return lowerBound(this.idxs, this.size, idx);
  }

  // Likewise by the number of its cell.
  findPlace(place) {
    return lowerBound(this.places, this.size, place);
  }

  codeAt(at) {
    return this.idxs[at] === this.sending && this.codes[at] === WAITING ? SENDING : this.codes[at];
  }

  // What the cells from one up to another stand for: the first and last index, and chunks by code.
  span(first, until) {
    const counts = new Array(9).fill(0);
    const begin = this.findPlace(first);
    const end = this.findPlace(until);
    for (let at = begin; at < end; at += 1) counts[this.codeAt(at)] += 1;
    const lowest = this.#idxOf(first, begin, true);
    const highest = this.#idxOf(until - 1, end, false);
    counts[GAP] = highest - lowest + 1 - (end - begin);
    return { first: lowest, last: highest, counts };
  }

  // The index that a cell stands for; of a gap that is shown shorter than it is, the first or the last of the rest.
  #idxOf(place, at, isFirst) {
    const next = isFirst ? at : this.findPlace(place);
    if (next < this.size && this.places[next] === place) return this.idxs[next];
    const before = next > 0 ? this.idxs[next - 1] : -1;
    const start = next > 0 ? this.places[next - 1] : -1;
    const idx = before + (place - start);
    const isLastOfGap = next < this.size && this.places[next] === place + 1;
    if (!isFirst && isLastOfGap) return this.idxs[next] - 1;
    return idx;
  }

  // The gravest code of each cell from `first` on, where each stands for `each`; 255 where there is nothing.
  gravest(first, count, each) {
    const found = new Uint8Array(count).fill(255);
    const until = Math.min(first + count * each, this.length);
    const put = (place, code) => {
      const cell = Math.floor((place - first) / each);
      if (found[cell] === 255 || GRAVITY[code] > GRAVITY[found[cell]]) found[cell] = code;
    };
    let at = this.findPlace(first);
    let expected = first;
    for (; at < this.size && this.places[at] < until; at += 1) {
      for (; expected < this.places[at]; expected += 1) put(expected, GAP);
      put(expected, this.codeAt(at));
      expected += 1;
    }
    for (; expected < until; expected += 1) put(expected, GAP);
    return found;
  }

  // The next cell after one that a person should look at; -1 when there is none.
  nextGrave(place) {
    const start = this.findPlace(place + 1);
    let expected = place + 1;
    for (let at = start; at < this.size; at += 1) {
      if (this.places[at] > expected) return expected;
      if (this.codes[at] === PARKED || this.codes[at] === DISCARDED) return this.places[at];
      expected = this.places[at] + 1;
    }
    return -1;
  }

  totals() {
    const counts = new Array(9).fill(0);
    for (let at = 0; at < this.size; at += 1) counts[this.codes[at]] += 1;
    counts[PRUNED] += counts[PRUNED + 1];
    counts[GAP] = this.size ? this.idxs[this.size - 1] + 1 - this.size : 0;
    return counts;
  }
}

function* runs(bytes) {
  let first = 0;
  for (let at = 0; at < bytes.length; ) {
    const code = bytes[at];
    let count = 0;
    let scale = 1;
    do {
      at += 1;
      count += (bytes[at] & 0x7f) * scale;
      scale *= 128;
    } while (bytes[at] & 0x80);
    at += 1;
    yield [code, first, count];
    first += count;
  }
}

function lowerBound(sorted, size, wanted) {
  let low = 0;
  let high = size;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
