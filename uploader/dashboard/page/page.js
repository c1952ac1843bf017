// What the pages share: elements, requests, and how what a person has to know is shown. Text is only ever text.
import { state } from "./feed.js";

export const base = new URL("..", import.meta.url);

export function byId(id) {
  return document.getElementById(id);
}

export function element(name, { text, kind, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Only what differs is touched: a screen reader is told of changes, and a selection stays.
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// The dashboard's answer; an Error with its own words when it refuses.
export async function ask(path, { body, as = "json" } = {}) {
  const request =
    body === undefined
      ? {}
      : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(new URL(path, base), request);
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({ error: `the dashboard answered ${answer.status}` }));
    throw new Error([said.error, said.hint].filter(Boolean).join(". "));
  }
  if (as === "answer") return answer;
  return answer.json();
}

// Tiles by their title: [title, what, more, how it is]. Those that are there stay.
export function showTiles(list, tiles) {
  while (list.children.length > tiles.length) list.lastElementChild.remove();
  tiles.forEach(([title, what, more = "", how = ""], place) => {
    let tile = list.children[place];
    if (!tile) {
      tile = element("div", {}, element("dt"), element("dd", {}, element("span"), element("small")));
      list.append(tile);
    }
    tile.className = how;
    write(tile.children[0], title);
    write(tile.children[1].children[0], what);
    write(tile.children[1].children[1], more);
  });
}

export function showConcerns(list, concerns, nameOf) {
  const told = JSON.stringify(concerns);
  if (list.dataset.told === told) return;
  list.dataset.told = told;
  list.replaceChildren(
    ...concerns.map((one) => {
      const item = element("li", { kind: one.needs_person ? "bad" : "" });
      const what = element("p", { kind: "what" });
      const row = nameOf && one.stream_id ? state.streams.get(one.stream_id) : undefined;
      if (row) what.append(element("a", { href: `streams/${row.stream_id}` }, element("bdi", { text: row.name })), ": ");
      what.append(element("bdi", { text: one.words }));
      item.append(what, element("p", { text: one.advice }));
      if (one.command) item.append(command(one.command));
      return item;
    }),
  );
}

function command(text) {
  const copy = element("button", { type: "button", text: "Copy", "aria-label": `Copy the command ${text}` });
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Not allowed here: select it";
    }
  });
  return element("p", { kind: "command" }, element("code", { text }), copy);
}

export function showLink(target, link) {
  const says = { live: "live", connecting: "connecting", gone: "not connected: is 'framespool dashboard' still running?" };
  target.className = `link ${link}`;
  write(target, says[link]);
}

export function verdict(target, how, lines) {
  target.className = `verdict ${how}`;
  const text = lines.join("\n");
  if (target.dataset.told === text) return;
  target.dataset.told = text;
  target.replaceChildren(lines[0], ...lines.slice(1).map((line) => element("span", { text: line })));
}
