import { follow, now, state } from "./feed.js";
import { byId, element, showConcerns, showLink, showTiles, verdict, write } from "./page.js";
import * as words from "./words.js";

const SHOWN_AT_ONCE = 100;
let shownMax = SHOWN_AT_ONCE;
const lines = new Map();

follow(render);
byId("more").addEventListener("click", () => {
  shownMax += SHOWN_AT_ONCE;
  render();
});

function render() {
  showLink(byId("link"), state.link);
  const figures = state.figures;
  if (!figures) return;
  write(byId("spool"), figures.spool ?? "");
  if (figures.fault) {
    verdict(byId("verdict"), "bad", [`The spool cannot be looked at: ${figures.fault.words}`, figures.fault.advice]);
    if (!figures.forecast) return;
  } else {
    showVerdict(figures);
  }
  showTiles(byId("tiles"), tiles(figures));
  byId("concerns").hidden = !figures.concerns.length;
  showConcerns(byId("concern-list"), figures.concerns, true);
  byId("concerns-more").hidden = !figures.concerns_left_out;
  write(byId("concerns-more"), `… and ${words.number(figures.concerns_left_out)} more: framespool streams`);
  showStreams();
}

function showVerdict(figures) {
  const needed = figures.needs_person;
  if (needed) verdict(byId("verdict"), "bad", [`${words.count(needed, "thing needs", "things need")} a person.`]);
  else if (figures.concerns.length)
    verdict(byId("verdict"), "wait", ["Nothing is lost and nothing is to be done: delivery goes on by itself."]);
  else if (figures.backlog.chunks) verdict(byId("verdict"), "good", ["All is well: delivering."]);
  else verdict(byId("verdict"), "good", ["All is well."]);
}

function tiles(figures) {
  const { forecast, backlog } = figures;
  const rows = [...state.streams.values()];
  const outages = rows.map((row) => row.outage_since_ms).filter(Boolean);
  const running = figures.workers.filter((one) => one.running).length;
  const drain = drainTime(backlog.bytes, forecast.rate_in_bytes_per_s, forecast.rate_out_bytes_per_s);
  const rateIn = forecast.rate_in_bytes_per_s ? words.rate(forecast.rate_in_bytes_per_s) : "";
  const soonFull = forecast.full_in_s !== null && forecast.full_in_s < 1800;
  return [
    ["Recording", figures.recording ? "yes" : "no", rateIn, figures.recording ? "good" : ""],
    [
      "Delivering",
      outages.length ? "no: an outage" : running ? "yes" : "no worker",
      outages.length ? `for ${words.duration((now() - Math.min(...outages)) / 1000)}` : words.rate(forecast.rate_out_bytes_per_s),
      outages.length ? "wait" : running ? "good" : backlog.chunks ? "bad" : "",
    ],
    [
      "Waiting",
      backlog.chunks ? words.count(backlog.chunks, "chunk") : "nothing",
      backlog.chunks ? `${words.size(backlog.bytes)}, ${words.duration(backlog.minutes * 60)} of frames` : "",
    ],
    ["Until it is empty", backlog.chunks ? drain : "empty", "at the rates of now"],
    [
      "Room",
      words.size(forecast.room_bytes),
      forecast.full_in_s === null ? "not filling" : `full in ${words.duration(forecast.full_in_s)}`,
      forecast.room_bytes === 0 ? "bad" : soonFull ? "wait" : "",
    ],
    ["Disk", `${words.size(figures.free_bytes)} free`, `${words.size(figures.used_bytes)} in the spool`],
  ];
}

function drainTime(bytes, rateIn, rateOut) {
  if (!rateOut) return "not delivering";
  if (rateOut <= rateIn) return "growing";
  return words.duration(bytes / (rateOut - rateIn));
}

// What goes on comes first, the latest of each first, and each before its copies.
function showStreams() {
  const rows = [...state.streams.values()].sort(
    (one, other) =>
      (one.state === "finalized") - (other.state === "finalized") ||
      (other.copy_of ?? other.stream_id).localeCompare(one.copy_of ?? one.stream_id) ||
      (one.copy_of !== null) - (other.copy_of !== null) ||
      one.stream_id.localeCompare(other.stream_id),
  );
  byId("no-streams").hidden = rows.length > 0;
  byId("table").hidden = !rows.length;
  const shown = rows.slice(0, shownMax);
  const kept = new Set(shown.map((row) => row.stream_id));
  for (const [id, line] of lines) {
    if (!kept.has(id)) {
      line.remove();
      lines.delete(id);
    }
  }
  const body = byId("rows");
  shown.forEach((row, place) => {
    let line = lines.get(row.stream_id);
    if (!line) {
      line = newLine(row);
      lines.set(row.stream_id, line);
    }
    fill(line, row);
    if (body.children[place] !== line) body.insertBefore(line, body.children[place] ?? null);
  });
  byId("more").hidden = rows.length <= shownMax;
  write(byId("more"), `Show more of ${words.count(rows.length, "stream")}`);
}

function newLine(row) {
  const name = element(
    "th",
    { scope: "row" },
    element("a", { href: `streams/${row.stream_id}` }, element("bdi", { text: row.name || row.stream_id })),
    element("small", {}, element("bdi")),
  );
  const delivered = element("td", {}, element("progress", { max: "1", "aria-label": "delivered" }), element("small"));
  const stateCell = element("td", {}, element("span"), element("small"));
  const cells = [0, 1, 2].map(() => element("td", { kind: "number" }, element("span"), element("small")));
  return element("tr", {}, name, stateCell, delivered, ...cells, element("td", {}, element("span"), element("small")));
}

function fill(line, row) {
  const [name, condition, delivered, waiting, into, out, left] = line.children;
  write(name.lastElementChild.firstElementChild, (row.copy_of ? "copy, to " : "to ") + row.destination);
  const [what, how, more] = conditionOf(row);
  condition.firstElementChild.className = how;
  write(condition.firstElementChild, what);
  write(condition.lastElementChild, more);
  const wanted = row.pushed - row.discarded;
  delivered.firstElementChild.max = Math.max(1, wanted);
  delivered.firstElementChild.value = row.acknowledged;
  write(delivered.lastElementChild, `${words.number(row.acknowledged)} of ${words.number(wanted)}`);
  write(waiting.firstElementChild, words.number(row.waiting));
  write(waiting.lastElementChild, row.waiting ? `${words.size(row.waiting_bytes)}, ${words.duration(row.waiting_s)}` : "");
  write(into.firstElementChild, row.rate_in ? words.rate(row.rate_in) : "-");
  write(out.firstElementChild, row.rate_out ? words.rate(row.rate_out) : "-");
  write(left.firstElementChild, row.waiting ? drainTime(row.waiting_bytes, row.rate_in, row.rate_out) : "empty");
}

function conditionOf(row) {
  if (row.held) return ["held", "bad", "needs a person"];
  if (row.parked) return [`${words.number(row.parked)} parked`, "bad", row.state];
  if (row.outage_since_ms) return ["outage", "wait", `for ${words.duration((now() - row.outage_since_ms) / 1000)}`];
  if (row.state === "finalized") return ["finalized", "good", ""];
  if (row.producer === "gone") return [row.state, "wait", "its producer is gone"];
  return [row.state, "", row.producer === "live" ? "recording" : ""];
}
