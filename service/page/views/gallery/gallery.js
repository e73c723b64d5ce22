// Gallery: the pictures that this browser has had drawn.

import { button, el } from "../../lib/el.js";
import { addresses, picture } from "../../lib/picture.js";
import { t } from "../../lib/words.js";
import { all, ended, on } from "../../jobs/jobs.js";
import { stateOf } from "../../jobs/card.js";
import { detail } from "./detail.js";
import { restoreField } from "./restore.js";

export { words } from "./words.js";
export const title = "gallery.title";

const BOX = innerWidth < 440 ? 128 : 192; // CSS pixels of a picture
const PAGE = 60; // tiles

export function show(root, [id]) {
  const urls = addresses();
  const offs = [urls.free];
  if (id) offs.push(detail(root, id, urls));
  else {
    const restore = restoreField();
    const tiles = tileList(urls);
    root.append(el("p", { class: "hint", text: t("gallery.about") }), restore.node, tiles.node);
    offs.push(restore.off, tiles.off);
  }
  return () => offs.forEach((off) => off());
}

function tileList(urls) {
  const empty = el("p", { class: "hint", text: t("gallery.empty") });
  const list = el("ul", { class: "gallery-tiles" });
  let most = PAGE;
  const more = button(t("gallery.more"), () => {
    most += PAGE;
    arrange();
  });
  const tiles = new Map();
  function arrange() {
    const entries = all();
    empty.hidden = entries.length > 0;
    more.hidden = entries.length <= most;
    list.replaceChildren(...entries.slice(0, most).map((entry) => {
      if (!tiles.has(entry.id)) tiles.set(entry.id, tile(entry));
      showTile(tiles.get(entry.id), entry, urls);
      return tiles.get(entry.id);
    }));
  }
  arrange();
  const off = on((entry) => {
    if (entry === null || entry.origin) return;
    const known = entry.status !== "removed" && tiles.get(entry.id);
    if (known) showTile(known, entry, urls);
    else arrange();
  });
  return { node: el("div", { class: "stack" }, empty, list, more), off };
}

const tile = (entry) => el("li", {},
  el("a", { href: `#/gallery/${entry.id}` },
    el("span", { class: "frame" }), el("span", { class: "gallery-name", text: entry.request.prompt }),
    el("span", { class: "hint figures" })));

function showTile(node, entry, urls) {
  const [frame, , state] = node.firstChild.children;
  const { request } = entry;
  const blob = entry.images.find((image) => image.blob)?.blob;
  const src = blob ? urls.url(blob) : entry.previews.find(Boolean)?.src;
  const count = request.num_images > 1 ? ` × ${request.num_images}` : "";
  const text = entry.status === "succeeded" ? `${request.seed}${count}` : stateOf(entry);
  if (state.textContent !== text) state.textContent = text;
  const image = frame.querySelector("img");
  if (src && !image) frame.replaceChildren(picture(src, "", request.width, request.height, BOX));
  else if (src && image.src !== src) image.src = src;
  node.dataset.ended = ended(entry);
}
