// Draw: submit jobs and watch their pictures take shape.

import { el } from "../../lib/el.js";
import { addresses, picture } from "../../lib/picture.js";
import { t } from "../../lib/words.js";
import { all, on, submit } from "../../jobs/jobs.js";

export { words } from "./words.js";
export const title = "draw.title";

export function show(root) {
  const urls = addresses();
  const prompt = el("input", { id: "prompt", value: "red heart", required: true });
  const cards = el("div", { class: "row" });
  const draw = () => cards.replaceChildren(...all().slice(0, 20).map((entry) => {
    const { width, height, prompt } = entry.request;
    const [image, preview] = [entry.images[0], entry.previews[0]];
    const src = image?.blob ? urls.url(image.blob) : preview?.src;
    return el("div", { class: "card" }, src && picture(src, prompt, width, height));
  }));
  root.append(
    el("form", { class: "stack card", on: { submit: (event) => {
      event.preventDefault();
      submit({ prompt: prompt.value });
    } } },
    el("div", { class: "field" }, el("label", { for: "prompt", text: t("draw.prompt") }), prompt),
    el("button", { class: "primary", text: t("draw.submit") })),
    cards,
  );
  const off = on(draw);
  draw();
  return () => {
    off();
    urls.free();
  };
}
