// One connection to the dashboard for all pages of this browser: a browser has only six for each server, and every
// page that held one would take it from the others. Each page is told everything once, and then what changes.
const state = { figures: null, streams: new Map(), now_ms: 0 };
const ports = new Set();
let source = null;
let link = "connecting";

function open() {
  source = new EventSource("../api/feed");
  source.onmessage = (event) => {
    const told = JSON.parse(event.data);
    if (told.is_all) state.streams.clear();
    if (told.figures) state.figures = told.figures;
    state.now_ms = told.now_ms;
    for (const row of told.streams) state.streams.set(row.stream_id, row);
    link = "live";
    for (const port of ports) port.postMessage({ link, ...told });
  };
  source.onerror = () => {
    link = "gone";
    for (const port of ports) port.postMessage({ link });
    // It tries again by itself, unless it was refused.
    if (source.readyState === EventSource.CLOSED) setTimeout(open, 3000);
  };
}

function all() {
  return { link, is_all: true, figures: state.figures, now_ms: state.now_ms, streams: [...state.streams.values()] };
}

onconnect = (event) => {
  const port = event.ports[0];
  port.onmessage = (message) => {
    if (message.data === "bye") ports.delete(port);
    if (message.data === "all") port.postMessage(all());
  };
  ports.add(port);
  if (source === null) open();
  port.postMessage(all());
};
