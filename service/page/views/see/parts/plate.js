// One picture with its label, from an empty frame to the finished image.

import { el } from "../../../lib/el.js";
import { duration } from "../../../lib/time.js";
import { said, t } from "../../../lib/words.js";
import { finish } from "../../../jobs/jobs.js";

const LONG = 100; // steps from which on a job can be finished early

/** Return {node, show(entry)}, which shows how far a job is. `timed`: say how long it took, which is
 *  longer for pictures that share the worker with others. */
export function plate({ label, timed = false }, prompt, urls) {
  const image = el("img", { class: "pixels", alt: `${prompt}, ${label}`, hidden: true });
  const note = el("span", { class: "hint" });
  let id;
  const early = el("button", { type: "button", hidden: true, text: t("see.finish"),
    on: { click: () => finish(id).catch(() => {}) } }); // it has ended meanwhile
  return {
    node: el("figure", { class: "see-plate" }, el("div", { class: "frame" }, image),
      el("figcaption", {}, el("span", { text: label }), note), early),
    show(entry) {
      const { images: [finished], previews: [preview], status, progress } = entry;
      const src = finished?.blob ? urls.url(finished.blob) : preview?.src;
      if (src) image.src = src;
      image.hidden = !src;
      note.textContent = state(entry, timed);
      id = entry.id;
      early.hidden = status !== "running" || progress.total < LONG;
    },
  };
}

function state({ status, progress, error, timings, finished_early: step }, timed) {
  if (status === "running") return t("see.step", progress);
  if (status !== "succeeded") {
    return error ? said(error) : t(status === "queued" ? "see.queued" : "see.stopped");
  }
  const time = duration(timings.running_s);
  return step ? t("see.early", { step, time }) : timed ? time : "";
}
