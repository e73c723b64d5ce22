// A picture file, chosen or dropped, fills Draw with what made it.

import { el } from "../../lib/el.js";
import { requestOf } from "../../lib/parameters.js";
import { textsOf } from "../../lib/picture_text.js";
import { t } from "../../lib/words.js";
import { why } from "../../jobs/card.js";
import { fill } from "../../jobs/draft.js";

/** Return {node, off}: a button for a file; a file may be dropped anywhere on the page. */
export function restoreField() {
  const said = el("p", { class: "error", role: "alert" });
  const file = el("input", {
    type: "file", id: "restore", accept: "image/png,image/webp,image/jpeg", class: "hidden-label",
    "aria-describedby": "restore-hint", on: { change: () => take(file.files[0]) },
  });
  const node = el("div", { class: "restore stack" }, file,
    el("label", { for: "restore", class: "button", text: t("gallery.restore") }),
    el("p", { class: "hint", id: "restore-hint", text: t("gallery.restore.hint") }), said);
  const veil = el("p", { class: "drop-veil", text: t("gallery.drop"), hidden: true });
  document.body.append(veil);

  async function take(chosen) {
    if (!chosen) return;
    said.textContent = "";
    try {
      const request = await requestOf(await textsOf(chosen));
      if (request) {
        fill({ ...request, num_images: 1 });
        location.hash = "#/draw";
      } else said.textContent = t("gallery.nothing", { name: chosen.name });
    } catch (problem) {
      said.textContent = why(problem);
    }
    file.value = "";
  }

  const listeners = {
    dragover(event) {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      veil.hidden = false;
    },
    dragleave(event) {
      if (!event.relatedTarget) veil.hidden = true;
    },
    drop(event) {
      event.preventDefault();
      veil.hidden = true;
      take(event.dataTransfer.files[0]);
    },
  };
  for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
  return {
    node,
    off() {
      veil.remove();
      for (const [name, listener] of Object.entries(listeners)) removeEventListener(name, listener);
    },
  };
}
