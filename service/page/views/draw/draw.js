// Draw: submit jobs and watch their pictures take shape.

import { models } from "../../lib/api.js";
import { el } from "../../lib/el.js";
import { addresses } from "../../lib/picture.js";
import { sleep } from "../../lib/time.js";
import { t } from "../../lib/words.js";
import { all, ended, on } from "../../jobs/jobs.js";
import { card } from "../../jobs/card.js";
import { drawForm } from "./form.js";
import { pendingList, submitPatiently } from "./pending.js";

export { words } from "./words.js";
export const title = "draw.title";

const MOST = 24; // cards
const LOOK_MS = 2000;

export function show(root) {
  const leaving = new AbortController();
  const urls = addresses();
  const place = el("div", { class: "draw-form" });
  const pending = pendingList();
  const { node: results, off } = resultList(urls);
  root.append(place, el("section", { class: "stack", "aria-label": t("draw.pictures") },
    pending.node, results));
  let form = null;
  showForm(place, leaving.signal).then((made) => {
    form = made;
  });
  return () => {
    leaving.abort();
    form?.off();
    pending.off();
    off();
    urls.free();
  };
}

async function showForm(place, signal) {
  for (let again = true; again && !signal.aborted;) {
    let text = t("draw.nomodel");
    try {
      const found = await models();
      if (signal.aborted) return null;
      if (found.length) {
        const form = drawForm(found, submitPatiently);
        place.replaceChildren(form.node);
        return form;
      }
    } catch (problem) {
      again = problem.passing; // else another key shows the view anew
      text = again ? t("draw.unknown") : problem.message;
    }
    place.replaceChildren(el("p", { class: "card hint", role: "status", text }));
    if (again) await sleep(LOOK_MS, signal);
  }
  return null;
}

function resultList(urls) {
  const empty = el("p", { class: "hint draw-none", text: t("draw.none") });
  const list = el("div", { class: "draw-cards" });
  const more = el("p", { class: "hint" }, el("a", { href: "#/gallery", text: t("draw.more") }));
  const said = el("p", { class: "hidden-label", role: "status" });
  const cards = new Map();

  function arrange() {
    const shown = all().slice(0, MOST);
    for (const [id, { node }] of cards) {
      if (shown.some((entry) => entry.id === id)) continue;
      node.remove();
      cards.delete(id);
    }
    for (const [index, entry] of shown.entries()) {
      if (!cards.has(entry.id)) cards.set(entry.id, card(entry, urls));
      const { node } = cards.get(entry.id);
      if (list.children[index] !== node) list.insertBefore(node, list.children[index] ?? null);
    }
    empty.hidden = shown.length > 0;
    more.hidden = all().length <= MOST;
  }

  const off = on((entry, event) => {
    if (entry === null || entry.origin) return;
    if (!cards.has(entry.id) || entry.status === "removed") return arrange();
    cards.get(entry.id).show();
    if (event && ended(entry)) said.textContent = t("job.ready", entry.request);
  });
  arrange();
  return { node: el("div", { class: "stack" }, empty, list, more, said), off };
}
