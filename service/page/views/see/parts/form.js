// The form of a question: a prompt, a seed, a button that draws.

import { el } from "../../../lib/el.js";
import { field } from "../../../lib/field.js";
import { duration } from "../../../lib/time.js";
import { language, t } from "../../../lib/words.js";
import { draw, rows } from "./draw.js";

const all = new Map(); // while the page is open

/** Return what a question keeps while another is shown, in each language. */
export function kept(name) {
  const key = `${language.current} ${name}`;
  if (!all.has(key)) all.set(key, {});
  return all.get(key);
}

/** Return {node, stop}. `plan(prompt, seed)` returns the requests; `begin(requests)` is told them at
 *  first, at each change and before they are drawn; `onChange` is that of `draw`; `onDone` is called
 *  when all are drawn. The `first` suggestion is the prompt at first. `kept(name).pictures` are
 *  dropped once the requests are others. */
export function form({ name, model, seed = 3, first = 0, plan, begin, onChange, onDone = () => {} }) {
  const own = kept(name);
  const suggestions = t("see.prompts").split("|");
  const prompt = el("input", { required: true, autocomplete: "off",
    value: own.prompt ?? suggestions[first], on: { input: changed } });
  const number = el("input", { required: true, type: "number", min: 0, max: 2 ** 32 - 9,
    value: own.seed ?? seed, on: { input: changed } });
  const button = el("button", { class: "primary", text: t("see.draw") });
  const cost = el("span");
  const status = el("span", { role: "status" });
  let running = null;

  function changed() {
    if (running || !node.checkValidity()) return;
    status.textContent = "";
    prepare();
  }
  function prepare(again = false) {
    Object.assign(own, { prompt: prompt.value.trim(), seed: Number(number.value) });
    const requests = plan(own.prompt, own.seed);
    const text = JSON.stringify(requests);
    if (again || own.drawn !== text) own.pictures = {};
    own.drawn = text;
    begin(requests);
    return requests;
  }
  async function run() {
    const requests = prepare(true);
    let whole = 0;
    button.textContent = t("see.stop");
    status.textContent = t("see.drawing");
    running = draw(requests, (index, entry, last) => {
      whole += last;
      onChange(index, entry, last);
    });
    try {
      await running.done;
      if (whole === requests.length) await onDone();
      status.textContent = t(whole === requests.length ? "see.drawn" : "see.stopped");
    } catch (problem) {
      status.textContent = problem.message;
    }
    running = null;
    button.textContent = t("see.draw");
  }
  const node = el("form", { class: "see-form card", on: { submit(event) {
    event.preventDefault();
    if (running) running.stop();
    else run();
  } } },
  field("see-prompt", t("see.prompt"), prompt).node,
  field("see-seed", t("see.seed"), number).node,
  button,
  el("div", { class: "row" }, suggestions.map((text) => el("button", {
    type: "button", class: "chip", text, on: { click() {
      prompt.value = text;
      changed();
    } },
  }))),
  el("p", { class: "hint" }, cost, " ", status));

  const requests = prepare();
  const units = requests.reduce((sum, each) => sum + rows(each, model), 0);
  if (model.units_per_s) { // it has been measured
    cost.textContent = t("see.cost",
      { jobs: requests.length, rows: units, time: duration(units / model.units_per_s) });
  }
  return { node, stop: () => running?.stop() };
}
