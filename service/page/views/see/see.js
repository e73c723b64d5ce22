// See the diffusion: questions about how images are drawn, answered by drawing some.

import { models } from "../../lib/api.js";
import { el } from "../../lib/el.js";
import { register, t } from "../../lib/words.js";
import { lab } from "./parts/lab.js";
import { gaussian, noised } from "./parts/noise.js";
import { SIDE, canvas, heart } from "./parts/picture.js";
import { alphasCumprod } from "./parts/schedule.js";

export { words } from "./words.js";

/** Modules of questions/. Each has `words`, with `values` in them, and `groups(model)` of pictures
 *  with the `options` of a lab, or `show(root, model)`, which returns a function that takes
 *  everything down. With `draws` false it needs no model. */
const NAMES = [
  "forward", "steps", "samplers", "ancestral", "thousand", "onestep", "guidance", "network",
  "addons",
];

/** Return the key of the title of a question, or of the list of them. */
export const title = ([name]) => NAMES.includes(name) ? `see.${name}` : "see.title";

/** Fill `root` with a question, or the list of them. */
export function show(root, [name]) {
  if (!NAMES.includes(name)) return showAll(root);
  let down;
  let gone = false;
  Promise.all([import(`./questions/${name}.js`), models().catch(() => [])]).then(([question, [model]]) => {
    if (!gone) down = showOne(root, name, question, model);
  });
  return () => {
    gone = true;
    down?.();
  };
}

function showOne(root, name, question, model) {
  register(question.words);
  const place = NAMES.indexOf(name) + 1;
  const next = NAMES[place % NAMES.length];
  const area = el("div", { class: "see-lab" });
  root.append(
    el("p", { class: "see-place hint" }, el("a", { href: "#/see", text: t("see.all") }),
      ` · ${t("see.place", { n: place, all: NAMES.length })}`),
    ...t(`${name}.text`).split("\n").map((text) => el("p", { class: "see-text", text })),
    area,
    el("section", { class: "see-notice" },
      el("h2", { text: t("see.notice") }),
      el("p", { text: t(`${name}.notice`, question.values) })),
    el("a", { class: "button", href: `#/see/${next}`,
      text: t("see.next", { title: t(`see.${next}`) }) }));
  if (!model && question.draws !== false) {
    area.append(el("p", { class: "card hint", text: t("see.nomodel") }));
  } else if (question.show) return question.show(area, model);
  else if (question.groups) return lab(area, name, model, question.groups(model), question.options);
}

function showAll(root) {
  const alphas = alphasCumprod();
  const noise = gaussian(3 * SIDE * SIDE, 1);
  root.append(
    el("div", { class: "see-hero", "aria-hidden": "true" },
      [1000, 700, 500, 350, 200, 80, 0].map((step) => {
        const { node, context } = canvas();
        context.putImageData(noised(heart(), noise, alphas[step]), 0, 0);
        return node;
      })),
    el("p", { class: "see-text", text: t("see.lead") }),
    el("ol", { class: "see-list" }, NAMES.map((name) =>
      el("li", {}, el("a", { href: `#/see/${name}`, text: t(`see.${name}`) })))));
}
