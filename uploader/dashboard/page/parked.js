// Parked chunks, and what a person decides about them. Discarding asks first, for the reason too.
import { ask, byId, element, write } from "./page.js";
import * as words from "./words.js";

const boxes = new Map();
let streamId = "";
let rows = [];
let told = "";

// `after` is called when something was decided, with what to say.
export function begin(id, { after, failed }) {
  streamId = id;
  const decide = async (verb, body, says) => {
    try {
      after(says(await ask(`api/streams/${streamId}/${verb}`, { body })));
    } catch (error) {
      failed(error.message);
    }
  };
  const waits = ({ retried }) => `${words.count(retried.length, "chunk waits", "chunks wait")} for delivery again.`;
  byId("retry").addEventListener("click", () => decide("retry", { chunks: chosen() }, waits));
  byId("retry-all").addEventListener("click", () => decide("retry", { chunks: null }, waits));
  byId("release").addEventListener("click", () =>
    decide("retry", { chunks: null }, () => "The stream is not held any more."),
  );
  byId("discard").addEventListener("click", askFirst);
  byId("ask-no").addEventListener("click", () => byId("ask").close());
  byId("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const body = { chunks: JSON.parse(byId("ask").dataset.chunks), why: byId("ask-why").value, confirmed: byId("ask-sure").checked };
    byId("ask").close();
    decide("discard", body, ({ discarded, who }) => `${words.count(discarded.length, "chunk")} discarded, decided by ${who}.`);
  });
}

export async function refreshParked(isAny) {
  const section = byId("parked");
  if (!isAny) {
    section.hidden = true;
    return;
  }
  const found = await ask(`api/streams/${streamId}/parked`);
  const text = JSON.stringify(found);
  section.hidden = !found.count;
  if (text === told) return;
  told = text;
  rows = found.parked;
  const more = found.count > rows.length ? ` The first ${rows.length}:` : "";
  write(byId("parked-count"), `${words.count(found.count, "chunk")} refused or damaged, kept until you decide.${more}`);
  const before = new Set(chosen());
  boxes.clear();
  byId("parked-rows").replaceChildren(...rows.map((row) => line(row, before.has(row.chunk_idx))));
  allow();
}

function line(row, isChosen) {
  const box = element("input", { type: "checkbox", "aria-label": `chunk ${row.chunk_idx}` });
  box.checked = isChosen;
  box.addEventListener("change", allow);
  boxes.set(row.chunk_idx, box);
  return element(
    "tr",
    {},
    element("td", {}, box),
    element("td", { kind: "number", text: String(row.chunk_idx) }),
    element("td", { text: words.moment(row.capture_start_ms_utc) }),
    element("td", { kind: "number", text: words.number(row.frames) }),
    element("td", { kind: "number", text: words.size(row.bytes) }),
    element("td", { kind: "words" }, element("bdi", { text: row.why })),
  );
}

function chosen() {
  return [...boxes].filter(([, box]) => box.checked).map(([idx]) => idx);
}

function allow() {
  const isAny = chosen().length > 0;
  byId("retry").disabled = !isAny;
  byId("discard").disabled = !isAny;
}

function askFirst() {
  const idxs = chosen();
  const which = rows.filter((row) => idxs.includes(row.chunk_idx));
  const frames = which.reduce((sum, row) => sum + row.frames, 0);
  const bytes = which.reduce((sum, row) => sum + row.bytes, 0);
  const listed = idxs.slice(0, 20).join(", ") + (idxs.length > 20 ? ` and ${idxs.length - 20} more` : "");
  byId("ask").dataset.chunks = JSON.stringify(idxs);
  write(byId("ask-what"), `${words.count(idxs.length, "chunk")} (${listed}), ${words.count(frames, "frame")}, ${words.size(bytes)}.`);
  write(byId("ask-chunks"), words.count(idxs.length, "chunk"));
  byId("ask-why").value = "";
  byId("ask-sure").checked = false;
  byId("ask").showModal();
  byId("ask-why").focus();
}
