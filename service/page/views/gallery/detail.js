// One job of the gallery: its pictures, what made them, and what can be done with them.

import { asCurl, asPython, essential } from "../../lib/as_code.js";
import { button, el } from "../../lib/el.js";
import { picture } from "../../lib/picture.js";
import { moment } from "../../lib/time.js";
import { said, t } from "../../lib/words.js";
import { fill } from "../../jobs/draft.js";
import { ended, get, on, remove } from "../../jobs/jobs.js";
import { stateOf, why } from "../../jobs/card.js";

const BOX = 512; // CSS pixels of a picture alone

/** Fill the view with a job; return what takes it down. */
export function detail(root, id, urls) {
  const node = el("div", { class: "gallery-detail" });
  root.append(el("a", { href: "#/gallery", text: `← ${t("gallery.back")}` }), node);
  const draw = () => {
    const entry = get(id);
    if (entry) node.replaceChildren(pictures(entry, urls), facts(entry));
    else node.replaceChildren(el("p", { class: "hint", text: t("gallery.missing") }));
  };
  draw();
  return on((entry) => {
    if (entry?.id !== id) return;
    if (entry.status === "removed") location.hash = "#/gallery";
    else draw();
  });
}

function pictures(entry, urls) {
  const { request } = entry;
  const columns = request.num_images > 1 ? 2 : 1;
  const box = Math.min(BOX, innerWidth - 64) / columns;
  return el("div", { class: "row gallery-pictures" }, entry.images.map((image) => {
    if (!image.blob) return el("p", { class: "frame hint", text: image.lost ? t("job.lost") : "" });
    const name = `${request.prompt.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60)}-${image.seed}`;
    const alt = t("job.picture", { prompt: request.prompt, seed: image.seed });
    return el("figure", {}, picture(urls.url(image.blob), alt, image.width, image.height, box),
      el("a", {
        class: "button chip", text: t("job.download"), href: urls.url(image.blob),
        download: `${name}.${image.content_type.split("/")[1]}`,
        "aria-label": `${t("job.download")}: ${alt}`,
      }));
  }));
}

function facts(entry) {
  const { request } = entry;
  const shown = { ...essential(request) };
  delete shown.prompt;
  return el("div", { class: "stack" },
    el("h2", { text: request.prompt, dir: "auto" }),
    el("p", { class: entry.status === "failed" ? "error" : "hint", text: stateOf(entry) }),
    entry.warnings.length > 0
      && el("ul", { class: "hint" }, entry.warnings.map((warning) => el("li", { text: said(warning) }))),
    el("dl", { class: "gallery-facts" },
      Object.entries({ ...shown, [t("gallery.created")]: moment(entry.created_at) })
        .map(([name, value]) => [el("dt", { text: name }), el("dd", { text: String(value) })])),
    actions(entry));
}

function actions(entry) {
  const code = el("pre", { class: "card", hidden: true, tabindex: "0" });
  const said = el("p", { class: "hint", role: "status" });
  const copy = async (text) => {
    code.textContent = text;
    code.hidden = false;
    said.textContent = t(await copied(text, code) ? "gallery.copied" : "gallery.uncopied");
  };
  const again = button(t("job.again"), () => {
    fill(entry.request);
    location.hash = "#/draw";
  }, { class: "primary" });
  return el("div", { class: "stack" },
    el("div", { class: "row" }, again,
      button(t("gallery.curl"), () => copy(asCurl(entry.request))),
      button(t("gallery.python"), () => copy(asPython(entry.request)))),
    code, said, ended(entry) && deletion(entry));
}

function deletion(entry) {
  const row = el("div", { class: "row" });
  const failure = el("p", { class: "error", role: "alert" });
  const offer = () => row.replaceChildren(button(t("gallery.delete"), ask));
  const ask = () => {
    const sure = button(t("gallery.sure"), async () => {
      try {
        await remove(entry.id);
      } catch (problem) {
        failure.textContent = why(problem);
      }
    });
    row.replaceChildren(sure, button(t("gallery.keep"), offer));
    sure.focus();
  };
  offer();
  return el("div", { class: "stack" }, row, failure);
}

async function copied(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // it needs HTTPS, or was not allowed
    getSelection().selectAllChildren(shown);
    return document.execCommand("copy");
  }
}
