// One chunk: what it is, its attempts, its receipt, and what people decided about it.
import { ask, byId, element, write } from "./page.js";
import * as words from "./words.js";

let chosen = null;

export async function showChunk(streamId, idx, { moveFocus = false } = {}) {
  chosen = idx;
  byId("chunk").hidden = false;
  write(byId("chunk-title"), `Chunk ${words.number(idx)}`);
  let told;
  try {
    told = await ask(`api/streams/${streamId}/chunks/${idx}`);
  } catch (error) {
    if (chosen === idx) showFacts([["State", error.message]], []);
  }
  if (told === null && chosen === idx) showFacts([["State", "never pushed: nothing is recorded under this number"]], []);
  if (told && chosen === idx) showFacts(facts(told), told.attempt_history, told);
  if (moveFocus) byId("chunk-title").focus();
}

// Again, when its stream has changed.
export function refreshChunk(streamId) {
  if (chosen !== null) showChunk(streamId, chosen);
}

function facts(told) {
  const receipt = told.receipt;
  const found = [
    ["State", told.mismatch ? `${told.state}: the server has other bytes` : told.state],
    ["Frames", `${words.number(told.n)}, ${told.width} × ${told.height} pixels`],
    ["Captured", iso(told.capture_start_ms_utc)],
    ["Spooled", plain(told.spooled_at)],
    ["Size", `${words.number(told.bytes)} bytes to send, ${told.disk_bytes ? words.size(told.disk_bytes) : "none"} here`],
    ["Uploads started", words.number(told.attempts)],
  ];
  if (told.acknowledged_at) found.push(["Acknowledged", plain(told.acknowledged_at)]);
  if (told.pruned_at) found.push(["Pruned here", plain(told.pruned_at)]);
  found.push(["SHA-256 of what is sent", told.sha256, "wide"]);
  if (told.parked_reason) found.push(["Parked, because", told.parked_reason, "wide"]);
  if (receipt) {
    const checksums = Object.entries(receipt.checksums).map(([name, value]) => `${name} ${value}`);
    const ids = Object.entries(receipt.request_ids).map(([name, value]) => `${name} ${value}`);
    const evidence = [`status ${receipt.status}`, receipt.etag && `ETag ${receipt.etag}`, ...checksums, ...ids, receipt.server_date];
    found.push([
      receipt.confirmed ? "Receipt: the server's checksum is ours" : "Receipt: no checksum that could be compared",
      evidence.filter(Boolean).join(" · "),
      "wide",
    ]);
    if (receipt.url_path) found.push(["Sent to", receipt.url_path, "wide"]);
  }
  for (const one of told.decisions) {
    const who = one.who ? ` by ${one.who}` : "";
    const why = one.why ? `: ${one.why}` : "";
    found.push([one.event, `${words.moment(one.at_ms)}${who}${why}`, "wide"]);
  }
  return found;
}

function showFacts(found, attempts, told) {
  const text = JSON.stringify([found, attempts]);
  const list = byId("chunk-facts");
  if (list.dataset.told === text) return;
  list.dataset.told = text;
  list.replaceChildren(
    ...found.map(([title, what, kind = ""]) =>
      element("div", { kind }, element("dt", { text: title }), element("dd", {}, element("bdi", { text: what }))),
    ),
  );
  byId("attempts-table").hidden = !attempts.length;
  const leftOut = told?.attempts_left_out ? ` The last ${attempts.length}; ${told.attempts_left_out} before them.` : "";
  write(byId("no-attempts"), attempts.length ? leftOut : "none");
  byId("attempts").replaceChildren(
    ...attempts.map((one) =>
      element(
        "tr",
        {},
        element("td", { text: one.started_at ? plain(one.started_at) : "nothing was sent" }),
        element("td", { text: one.ended_at ? plain(one.ended_at) : "" }),
        element("td", { text: one.result, kind: one.result === "acknowledged" ? "" : "bad" }),
        element("td", { kind: "words" }, element("bdi", { text: one.words ?? "" })),
      ),
    ),
  );
}

function iso(ms) {
  return words.moment(ms, { digits: 3 });
}

function plain(text) {
  return text.replace("T", " ").replace("Z", "");
}
