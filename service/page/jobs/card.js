// A job's card: its pictures, out of the haze by previews, how far it is, and what can be done.

import { button, el } from "../lib/el.js";
import { fit, picture } from "../lib/picture.js";
import { duration } from "../lib/time.js";
import { register, said, t } from "../lib/words.js";
import { cancel, ended, finish } from "./jobs.js";
import { fill } from "./draft.js";
import { words } from "./words.js";

register(words);

const BOX = 256; // CSS pixels of a card's pictures together
const MOST_BLUR = 14; // CSS pixels, before the first step

/** Return {node, show()}: a card, and what brings it up to date with its entry. */
export function card(entry, urls) {
  const { request } = entry;
  const columns = Math.ceil(Math.sqrt(request.num_images));
  const box = Math.floor(BOX / columns);
  const frames = Array.from({ length: request.num_images }, () => el("div", { class: "frame haze" }));
  const state = el("p", { class: "hint figures" });
  const bar = el("i");
  const notes = el("ul", { class: "stack hint" });
  const buttons = el("div", { class: "row" });
  const failure = el("p", { class: "error", role: "alert" });
  const node = el("article", { class: "card job", data: { id: entry.id } },
    el("div", { class: "job-frames" }, frames),
    el("h2", { text: request.prompt, dir: "auto" }),
    state, el("div", { class: "bar" }, bar), notes, buttons, failure);
  node.querySelector(".job-frames").style.gridTemplateColumns = `repeat(${columns}, ${box}px)`;

  const act = async (doing) => {
    failure.textContent = "";
    try {
      await doing(entry.id);
    } catch (problem) {
      failure.textContent = why(problem);
    }
  };
  const offer = (name, doing) => button(t(`job.${name}`), doing, { class: "chip" });

  const doings = {
    cancel: () => act(cancel),
    finish: () => act(finish),
    again() {
      fill(entry.request);
      location.hash = "#/draw";
      document.getElementById("draw-prompt")?.focus();
    },
  };

  let offered = "";
  function show() {
    node.dataset.status = entry.status;
    frames.forEach((frame, index) => showFrame(frame, entry, index, box, urls));
    state.textContent = stateOf(entry);
    state.classList.toggle("error", entry.status === "failed");
    const { step, total } = entry.progress;
    bar.style.width = `${(100 * step) / total}%`;
    bar.parentNode.hidden = ended(entry);
    if (notes.childElementCount !== entry.warnings.length) {
      notes.replaceChildren(...entry.warnings.map((warning) => el("li", { text: said(warning) })));
    }
    const names = ended(entry) ? "again"
      : entry.status === "running" && step > 0 ? "cancel finish" : "cancel";
    if (names === offered) return;
    const held = buttons.contains(document.activeElement);
    offered = names;
    buttons.replaceChildren(...names.split(" ").map((name) => offer(name, doings[name])));
    if (held) buttons.firstChild.focus();
  }
  show();
  return { node, show };
}

/** Show one picture of an entry in a frame: by its previews, out of the haze, until it is there. */
export function showFrame(frame, entry, index, box, urls) {
  const { request } = entry;
  const image = entry.images.find((each) => each.index === index);
  const preview = entry.previews[index];
  const src = image?.blob ? urls.url(image.blob) : preview?.src;
  if (image?.lost) frame.replaceChildren(el("p", { class: "hint", text: t("job.lost") }));
  frame.classList.toggle("haze", !src && !ended(entry));
  if (!src) return;
  const alt = image?.blob ? t("job.picture", { prompt: request.prompt, seed: image.seed })
    : t("job.preview", request);
  let shown = frame.querySelector("img");
  if (!shown) frame.replaceChildren(shown = picture(src, alt, request.width, request.height, box));
  if (shown.src !== src) shown.src = src;
  if (shown.alt !== alt) shown.alt = alt;
  fit(shown, request.width, request.height, box);
  const left = image?.blob || ended(entry) ? 0 : 1 - preview.step / request.num_inference_steps;
  shown.style.filter = left > 0 ? `blur(${((MOST_BLUR * box) / BOX) * left ** 2}px)` : "";
}

/** Return why something failed, in words. */
export const why = (problem) =>
  (problem.code === "unreachable" ? t("job.unreachable") : problem.message);

/** Return how a job is, in words. */
export function stateOf({ status, request, queue_position: place, progress, eta_s, error, finished_early }) {
  const count = request.num_images;
  const steps = request.num_inference_steps;
  switch (status) {
    case "queued":
      return place ? t("job.place", { n: place }) : t("job.queued");
    case "running": {
      const step = t("job.step", { step: Math.floor(progress.step / count), total: steps });
      return eta_s ? `${step} · ${t("job.left", { time: duration(eta_s) })}` : step;
    }
    case "succeeded": {
      const early = finished_early === null ? null : t("job.early", { step: finished_early });
      return [t("job.succeeded", { seed: request.seed, steps }), early].filter(Boolean).join(" · ");
    }
    case "failed":
      return t("job.failed", { detail: error ? said(error) : "" });
    default:
      return t(`job.${status}`);
  }
}
