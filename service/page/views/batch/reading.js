// A batch in words: a sentence, the latest changes, and a table.

import { el } from "../../lib/el.js";
import { language, t } from "../../lib/words.js";
import { ribbonOf } from "./history.js";

const NAMED = 3;
const LATEST = 6;

/** Return what the last pass did, as a sentence. */
export function sentence({ images, rows, rows_per_tick: most }, names) {
  if (!images.length) return t("batch.idle");
  const moved = images.filter((each) => each.in_pass);
  const who = moved.slice(0, NAMED).map((each) =>
    t("batch.one", { ...each, sampler: names.title(each.sampler) }));
  if (moved.length > NAMED) who.push(t("batch.more", { n: moved.length - NAMED }));
  const list = new Intl.ListFormat(language.current).format(who);
  return t("batch.pass", { n: moved.length, all: images.length, rows, most, who: list });
}

/** Show the latest changes, the newest first. */
export function listChanges(list, past, changes, names) {
  for (const change of changes.slice(-LATEST)) {
    const { hue, sampler, steps } = ribbonOf(past, change) ?? {};
    const dot = el("i");
    dot.style.background = `oklch(var(--tone) ${hue})`;
    const who = sampler ? `${names.title(sampler)}, ${steps}` : change.job.slice(0, 8);
    list.prepend(el("li", {}, dot, `${names.clock(new Date(change.at))} ${who} `,
      el("b", { text: t(`batch.${change.kind}`) })));
  }
  while (list.children.length > LATEST) list.lastChild.remove();
}

/** Show who holds the slots. */
export function listSlots(body, images, names) {
  body.replaceChildren(...images.map((each) => el("tr", {}, [
    each.slot, `${each.job.slice(0, 8)}/${each.image}`, names.title(each.sampler),
    `${each.step}/${each.steps}`, each.rows, each.in_pass ? "✓" : "–",
  ].map((text) => el("td", { text })))));
}
