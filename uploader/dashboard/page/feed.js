// What the dashboard tells, as this page sees it: the figures of the spool and a row for each stream.
const workerUrl = new URL("feed-worker.js", import.meta.url).href;
const policy = globalThis.trustedTypes?.createPolicy("framespool", {
  createScriptURL(url) {
    if (url !== workerUrl) throw new TypeError("only our own worker");
    return url;
  },
});

export const state = { link: "connecting", figures: null, streams: new Map(), skew_ms: 0, changed: new Set() };

// Calls back, at most once a frame and only while somebody sees the page, when anything has changed.
export function follow(callback) {
  const worker = new SharedWorker(policy ? policy.createScriptURL(workerUrl) : workerUrl);
  let isDue = false;
  const soon = () => {
    if (isDue || document.hidden) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      callback(state);
      state.changed.clear();
    });
  };
  worker.port.onmessage = ({ data }) => {
    state.link = data.link;
    if (data.is_all) state.streams.clear();
    if (data.figures) state.figures = data.figures;
    if (data.now_ms) state.skew_ms = data.now_ms - Date.now();
    for (const row of data.streams ?? []) {
      state.streams.set(row.stream_id, row);
      state.changed.add(row.stream_id);
    }
    soon();
  };
  addEventListener("pagehide", () => worker.port.postMessage("bye"));
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  document.addEventListener("visibilitychange", soon);
  setInterval(soon, 1000); // clocks go on
}

// The dashboard's clock, by which all its times are.
export function now() {
  return Date.now() + state.skew_ms;
}
