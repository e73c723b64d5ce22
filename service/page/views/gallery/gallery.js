// Gallery: the pictures that this browser has had drawn.

import { el } from "../../lib/el.js";
import { addresses, picture } from "../../lib/picture.js";
import { t } from "../../lib/words.js";
import { all, on } from "../../jobs/jobs.js";

export { words } from "./words.js";
export const title = "gallery.title";

export function show(root) {
  const urls = addresses();
  const list = el("div", { class: "row" });
  const empty = el("p", { class: "hint", text: t("gallery.empty") });
  const draw = () => {
    empty.hidden = all().length > 0;
    list.replaceChildren(...all().flatMap(({ images, request }) =>
    images.filter(({ blob }) => blob).map(({ blob, width, height }) =>
      picture(urls.url(blob), request.prompt, width, height, 128))));
  };
  root.append(empty, list);
  const off = on(draw);
  draw();
  return () => {
    off();
    urls.free();
  };
}
