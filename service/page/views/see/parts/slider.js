// A slider with its value in words, and a button that plays it.

import { el } from "../../../lib/el.js";
import { t } from "../../../lib/words.js";

/** Return {node, value, play, stop}. `onInput(value)` is called for each value, the first one too;
 *  `text(value)` is the value in words. With `frameMs` it has a button that plays it. */
export function slider({ label, min, max, value, text, onInput, frameMs = 0, by = 1 }) {
  const output = el("output", { for: "see-slider" });
  const range = el("input", { type: "range", id: "see-slider", min, max, value,
    on: { input: () => go(Number(range.value)) } });
  const button = frameMs > 0 && el("button", { type: "button", class: "quiet",
    on: { click: () => (timer ? stop() : play()) } });
  let timer = 0;

  function moved(to) {
    range.value = to;
    range.setAttribute("aria-valuetext", text(to));
    output.textContent = text(to);
    onInput(to);
  }
  function go(to) {
    stop();
    moved(to);
  }
  function stop() {
    clearInterval(timer);
    timer = 0;
    if (button) button.textContent = t("see.play");
  }
  function play() {
    let now = Number(range.value) < max ? Number(range.value) : min;
    moved(now);
    button.textContent = t("see.pause");
    timer = setInterval(() => {
      moved((now = Math.min(max, now + by)));
      if (now === max) stop();
    }, frameMs);
  }
  go(value);
  return {
    node: el("div", { class: "see-slider" },
      el("label", { for: "see-slider", text: label }), output, range, button),
    get value() { return Number(range.value); },
    go,
    play,
    stop,
  };
}
