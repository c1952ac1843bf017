import { Cells, CODES, GAP, PARKED } from "./cells.js";
import { draw } from "./chart.js";
import { refreshChunk, showChunk } from "./chunk.js";
import { follow, now, state } from "./feed.js";
import { ChunkMap } from "./map.js";
import { ask, byId, element, showConcerns, showLink, showTiles, verdict, write } from "./page.js";
import { begin as beginParked, refreshParked } from "./parked.js";
import * as words from "./words.js";

const SLOW_MS = 2000;
const AGAIN_MS = 300;
const streamId = decodeURIComponent(location.pathname.split("/").at(-1));
const here = `api/streams/${streamId}`;
const cells = new Cells();
let version = null;
let facts = { outages: [], fps: 1 };
let outageCount = 0;
let series = null;

const map = new ChunkMap(
  cells,
  { canvas: byId("map"), frame: byId("map-frame"), room: byId("map-room"), cellSaid: byId("map-cell") },
  (idx) => {
    history.replaceState(null, "", `#chunk=${idx}`);
    showChunk(streamId, idx, { moveFocus: true });
  },
);

byId("zoom-in").addEventListener("click", () => map.zoom(1));
byId("zoom-out").addEventListener("click", () => map.zoom(-1));
byId("zoom-all").addEventListener("click", () => map.zoom(0));
byId("next").addEventListener("click", () => map.next() && map.canvas.focus());
byId("audit").href = `${streamId}/audit.html`;
byId("audit-file").href = `${streamId}/audit.html?download`;
byId("proof").href = `${streamId}/proof.json`;
addEventListener("resize", () => drawSeries());

// Each of these asks once at a time, and once more when something changed meanwhile.
function oneAtATime(work, pauseMs = 0) {
  let isRunning = false;
  let isWanted = false;
  return async function run() {
    isWanted = true;
    if (isRunning) return;
    isRunning = true;
    while (isWanted && !document.hidden) {
      isWanted = false;
      try {
        await work();
        fail("");
      } catch (error) {
        fail(error instanceof TypeError ? "" : error.message); // an answer that did not come is told by the link
      }
      if (pauseMs) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    isRunning = false;
  };
}

const readFacts = oneAtATime(async () => {
  facts = await ask(here);
  write(byId("ask-who"), facts.person);
  showFacts();
});

// Asks again while the dashboard is still reading the stream for the first time.
async function whenRead(path) {
  for (;;) {
    const answer = await ask(path, { as: "answer" });
    if (answer.status !== 202) return answer;
    const { read } = await answer.json();
    const row = state.streams.get(streamId);
    const of = row ? ` of ${words.number(row.pushed)}` : "";
    write(byId("map-said"), `Reading the chunks: ${words.number(read)}${of} …`);
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

const readMap = oneAtATime(async () => {
  const answer = await whenRead(`${here}/map${version === null ? "" : `?since=${version}`}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if (answer.headers.get("Framespool-Map") === "whole") cells.load(bytes);
  else cells.patch(bytes);
  version = Number(answer.headers.get("Framespool-Version"));
  showMap();
}, 250);

const readSeries = oneAtATime(async () => {
  series = await (await whenRead(`${here}/series`)).json();
  drawSeries();
}, SLOW_MS);

const readFrame = oneAtATime(async () => {
  const latest = await (await whenRead(`${here}/latest`)).json();
  showFrame(latest);
  if (!latest.is_all) setTimeout(readFrame, AGAIN_MS);
}, SLOW_MS);

const readParked = oneAtATime(() => refreshParked(state.streams.get(streamId)?.parked > 0));

beginParked(streamId, { after: say, failed: fail });
let isFirst = true;
let seenHidden = false;

follow(() => {
  showLink(byId("link"), state.link);
  const row = state.streams.get(streamId);
  if (state.figures) {
    write(byId("spool"), state.figures.spool ?? "");
    showSpoolConcerns();
  }
  if (!row) return;
  showRow(row);
  if (isFirst || seenHidden || state.changed.has(streamId)) {
    if (isFirst) {
      readFacts();
      showNamedChunk();
    } else if (row.outage_since_ms !== outageCount) {
      readFacts();
    }
    outageCount = row.outage_since_ms;
    isFirst = seenHidden = false;
    readMap();
    readSeries();
    readFrame();
    readParked();
    refreshChunk(streamId);
  } else if (row.outage_since_ms && series) {
    drawSeries();
  }
});
document.addEventListener("visibilitychange", () => {
  seenHidden = true;
});

addEventListener("hashchange", showNamedChunk);

// The address may name a chunk, to come back to.
function showNamedChunk() {
  const named = /^#chunk=(\d{1,10})$/.exec(location.hash);
  if (named) showChunk(streamId, Number(named[1]));
}

function say(text) {
  write(byId("said"), text);
  fail("");
}

function fail(text) {
  write(byId("failed"), text);
}

function showRow(row) {
  document.title = `${row.name || row.stream_id} - framespool`;
  if (byId("name").textContent !== (row.name || row.stream_id)) byId("name").replaceChildren(element("bdi", { text: row.name || row.stream_id }));
  write(byId("ids"), [row.stream_id, row.data_id ?? "no data_id yet", row.destination].join(" · "));
  showCopies(row);
  const [how, ...lines] = verdictOf(row);
  verdict(byId("verdict"), how, lines);
  showTiles(byId("tiles"), tiles(row));
  byId("release").hidden = !row.held;
  cells.sending = row.sending;
  map.draw();
}

function showCopies(row) {
  const line = byId("copies");
  const others = row.copy_of ? [row.copy_of] : row.copies;
  const told = JSON.stringify(others.map((id) => [id, state.streams.get(id)?.destination]));
  line.hidden = !others.length;
  if (line.dataset.told === told) return;
  line.dataset.told = told;
  line.replaceChildren(row.copy_of ? "a copy of " : "copies: ");
  others.forEach((id, k) => {
    const other = state.streams.get(id);
    const text = other ? `${row.copy_of ? "the stream" : "one"} that goes to ${other.destination}` : id;
    line.append(k ? ", " : "", other ? element("a", { href: id, text }) : text);
  });
}

function verdictOf(row) {
  const wanted = row.pushed - row.discarded;
  const gaps = row.next_chunk_idx - row.pushed;
  if (row.held) return ["bad", "Nothing is sent until somebody decides.", row.held];
  const since = row.outage_since_ms && words.duration((now() - row.outage_since_ms) / 1000);
  const worker = state.figures?.workers?.find((one) => one.destination === row.destination);
  const isAlone = worker !== undefined && !worker.running;
  const goesOn = isAlone ? "Nothing is lost, but no worker is there to go on." : "Nothing is lost: delivery goes on by itself.";
  const outage = since ? [`An outage, for ${since}. ${goesOn}`, row.trouble ?? ""] : [];
  if (row.parked) return ["bad", `${words.count(row.parked, "chunk")} parked: retry or discard what is parked.`, ...outage];
  if (since) return ["wait", ...outage];
  if (row.waiting) {
    if (isAlone) return ["wait", "No worker delivers at this moment; what waits is safe here."];
    return ["good", "Delivering; what waits is safe here."];
  }
  if (gaps) return ["wait", `Everything that was recorded is delivered; ${words.count(gaps, "chunk")} never pushed.`];
  if (!wanted) return ["", "Nothing is recorded yet."];
  if (row.state === "finalized") return ["good", "Complete: everything is delivered, and the stream is finalized."];
  return ["good", "Everything that was recorded so far is delivered."];
}

function tiles(row) {
  const draining = row.rate_out > row.rate_in ? words.duration(row.waiting_bytes / (row.rate_out - row.rate_in)) : "";
  return [
    ["State", row.state, { live: "recording", gone: "its producer is gone" }[row.producer] ?? ""],
    ["Recorded", words.count(row.pushed, "chunk"), row.rate_in ? words.rate(row.rate_in) : ""],
    ["Delivered", words.count(row.acknowledged, "chunk"), row.rate_out ? words.rate(row.rate_out) : ""],
    [
      "Waiting",
      row.waiting ? words.count(row.waiting, "chunk") : "nothing",
      row.waiting ? `${words.size(row.waiting_bytes)}, ${words.duration(row.waiting_s)} of frames` : "",
      row.waiting ? "wait" : "",
    ],
    ["Until it is empty", row.waiting ? draining || (row.rate_out ? "growing" : "not delivering") : "empty", ""],
    ["Watermark", row.watermark < 0 ? "none" : `chunk ${words.number(row.watermark)}`, "delivered without a gap"],
  ];
}

function showFacts() {
  byId("outages").hidden = !facts.outages.length;
  byId("outage-rows").replaceChildren(
    ...[...facts.outages].reverse().map((one) =>
      element(
        "tr",
        {},
        element("td", { text: words.moment(one.began_ms) }),
        element("td", { text: one.ended_ms ? words.moment(one.ended_ms) : "still going on" }),
        element("td", { text: one.ended_ms ? words.duration((one.ended_ms - one.began_ms) / 1000) : "" }),
        element("td", { kind: "number", text: one.tries === null ? "" : words.number(one.tries) }),
        element("td", { kind: "words" }, element("bdi", { text: one.words })),
      ),
    ),
  );
  drawSeries();
}

function showSpoolConcerns() {
  const own = state.figures.concerns?.filter(isOurs) ?? [];
  byId("concerns").hidden = !own.length;
  showConcerns(byId("concern-list"), own, false);
  if (state.figures.fault) fail(`The spool cannot be looked at: ${state.figures.fault.words}`);
}

// What concerns the whole spool does so here too, unless it is about a destination that is another's.
function isOurs(concern) {
  if (concern.stream_id !== null) return concern.stream_id === streamId;
  const ours = state.streams.get(streamId)?.destination;
  const others = [...state.streams.values()].map((row) => row.destination).filter((one) => one !== ours);
  return concern.words.includes(ours) || !others.some((one) => concern.words.includes(one));
}

function showMap() {
  const counts = cells.totals();
  map.draw();
  map.showLegend(byId("legend"), counts);
  const grave = counts[PARKED] + counts[CODES.indexOf("discarded")] + counts[GAP];
  byId("next").disabled = !grave;
}

map.painted = () => {
  if (version === null) return; // still being read
  const each = map.each > 1 ? `; each cell stands for up to ${words.number(map.each)}, the gravest shows` : "";
  write(byId("map-said"), cells.size ? `${words.count(cells.size, "chunk")}${each}` : "No chunk was pushed yet.");
};

function drawSeries() {
  if (!series || !series.came_bytes.length) return;
  const { from_ms: from, width_ms: width, came_bytes: came, went_bytes: went, left_bytes: left } = series;
  const isOver = state.streams.get(streamId)?.state === "finalized";
  const end = from + came.length * width;
  const until = isOver ? end : Math.max(end, Math.min(now(), end + Math.max(60_000, 0.25 * (end - from))));
  const { outages } = facts;
  const at = (k) => from + (k + 1) * width;
  const backlog = [[from, 0], ...left.map((amount, k) => [at(k), amount]), [until, left.at(-1)]];
  const together = Math.ceil(Math.max(4000 * (facts.chunk_size / facts.fps || 0), (end - from) / 150) / width) || 1;
  const rates = (amounts) => {
    const points = [];
    for (let k = 0; k < amounts.length; k += together) {
      const group = amounts.slice(k, k + together);
      const sum = group.reduce((one, other) => one + other, 0);
      points.push([at(k) + ((group.length - 2) * width) / 2, (sum * 1000) / (group.length * width)]);
    }
    if (until > end) points.push([end, 0], [until, 0]);
    return points;
  };
  const [into, out] = [rates(came), rates(went)];
  const fastest = (points) => words.size(Math.max(...points.map(([, amount]) => amount)));
  const common = { outages, from, until };
  const highest = Math.max(...left);
  const said = `Now ${words.size(left.at(-1))} not yet delivered; at most ${words.size(highest)}`;
  draw(byId("backlog"), { ...common, lines: [{ points: backlog, kind: "edge", isArea: true }], say: words.size, label: said });
  draw(byId("rates"), {
    ...common,
    lines: [
      { points: into, kind: "in" },
      { points: out, kind: "out" },
    ],
    say: (amount) => `${words.size(amount)}/s`,
    label: `Recorded at up to ${fastest(into)}/s, delivered at up to ${fastest(out)}/s`,
  });
  const lasted = outages.map((one) => (one.ended_ms ?? now()) - one.began_ms);
  const longest = lasted.length ? `, the longest ${words.duration(Math.max(...lasted) / 1000)}` : "";
  write(byId("time-words"), `${said}. ${words.count(facts.outage_count ?? 0, "outage")}${longest}. Times are UTC.`);
  showTimeLegend(outages.length > 0);
}

function showTimeLegend(isAnyOutage) {
  const list = byId("time-legend");
  const entries = [["key-backlog", "not yet delivered"], ["key-in", "in"], ["key-out", "out (dashed)"]];
  if (isAnyOutage) entries.push(["key-outage", "outage"]);
  if (list.children.length === entries.length) return;
  const svg = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
  list.replaceChildren(
    ...entries.map(([kind, text]) => {
      const key = svg("svg");
      const box = svg("rect");
      key.setAttribute("viewBox", "0 0 12 12");
      key.setAttribute("aria-hidden", "true");
      for (const [name, value] of [["class", kind], ["width", "12"], ["height", "12"]]) box.setAttribute(name, value);
      key.append(box);
      return element("li", {}, key, text);
    }),
  );
}

function showFrame(latest) {
  const picture = byId("frame");
  const isThere = latest.chunk_idx !== null;
  picture.hidden = !isThere;
  byId("no-frame").hidden = isThere;
  if (!isThere) {
    write(byId("no-frame"), "no frame is here any more, or none yet");
    write(byId("frame-said"), "");
  } else {
    const source = new URL(`../${here}/frames/${latest.chunk_idx}`, location.href).href;
    const says = `frame ${latest.frame} of chunk ${words.number(latest.chunk_idx)}, captured ${words.moment(latest.captured_ms, { digits: 3 })} UTC`;
    if (picture.src !== source) {
      picture.src = source;
      picture.alt = `Last frame: ${says}`;
      write(byId("frame-said"), says.charAt(0).toUpperCase() + says.slice(1));
    }
  }
  showTrend(latest.trend);
}

function showTrend(points) {
  if (points.length < 2) {
    byId("trend").replaceChildren();
    write(byId("trend-words"), "It appears once there are frames here.");
    return;
  }
  const means = points.map(([, mean]) => mean);
  const [lowest, highest] = [Math.min(...means), Math.max(...means)];
  const least = Math.floor(lowest);
  draw(byId("trend"), {
    lines: [{ points, kind: "in" }],
    from: points[0][0],
    until: points.at(-1)[0],
    least,
    most: Math.max(least + 1, Math.ceil(highest)),
    height: 190,
    say: (amount) => amount.toFixed(1),
    label: `Brightness from ${lowest.toFixed(1)} to ${highest.toFixed(1)}, now ${means.at(-1).toFixed(1)}`,
  });
  write(byId("trend-words"), `The brightest hundredth of the pixels, mean grey value from 0 to 255, in up to eight frames of each of the last chunks. Now ${means.at(-1).toFixed(1)}.`);
}

byId("frame").addEventListener("error", () => {
  byId("frame").hidden = true;
  byId("no-frame").hidden = false;
  write(byId("no-frame"), "this frame cannot be shown: it was pruned a moment ago, or is damaged");
});
