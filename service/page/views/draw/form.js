// The form: prompt, examples, and settings that show what the model takes by itself.

import { button, el } from "../../lib/el.js";
import { language, t } from "../../lib/words.js";
import { all, on } from "../../jobs/jobs.js";
import { draft, keep, onFilled, randomSeed, requestOf } from "../../jobs/draft.js";
import { controls } from "./controls.js";

const CHIP = { class: "chip" };
let settingsOpen = false;

/** Return {node, off}; `onSubmit(request, fail)` gets each request, and may report a Problem. */
export function drawForm(models, onSubmit) {
  const node = el("form", { class: "card stack", novalidate: true });
  let fields = {};
  const build = () => {
    const focused = node.contains(document.activeElement) ? document.activeElement.id : "";
    fields = filled(node, models, () => {
      keep();
      build();
    });
    document.getElementById(focused)?.focus();
  };
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    const errors = Object.entries(fields).map(([field, { wrong }]) =>
      ({ field, detail: wrong?.() ?? "" })).filter(({ detail }) => detail);
    showErrors(node, fields, errors);
    if (errors.length) return;
    onSubmit(requestOf(draft), (problem) => showErrors(node, fields, problem.errors, problem));
    if (!draft.locked && draft.fields.seed) {
      draft.fields.seed = fields.seed.control.value = "";
      keep();
    }
  });
  node.addEventListener("keydown", (event) => {
    const sends = event.key === "Enter" && event.target.id === "draw-prompt";
    if (!sends || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    node.requestSubmit();
  });
  build();
  const offs = [onFilled(build), on(() => {
    node.querySelector("#draw-seed-reuse").hidden = !all().length;
  })];
  return { node, off: () => offs.forEach((off) => off()) };
}

function filled(node, models, changed) {
  const model = chosen(models, "model") ?? models[0];
  const sampler = chosen(model.samplers, "sampler")
    ?? model.samplers.find(({ name }) => name === model.default_sampler);
  const usual = sampler.schedules.includes(model.default_schedule) ? model.default_schedule
    : sampler.default_schedule;
  const fields = controls(models, model, sampler, draft.extras.schedule ?? usual, () => {
    delete draft.extras.schedule; // they were of the former sampler
    delete draft.extras.eta;
    changed();
  });
  const { prompt, ...others } = fields;
  others.seed.control.after(seedButtons(others.seed.control, changed));
  const summary = el("span", { class: "hint" });
  const details = el("details", { open: settingsOpen, on: { toggle({ target }) {
    settingsOpen = target.open;
  } } },
  el("summary", {}, t("draw.settings"), " ", summary),
  el("div", { class: "draw-settings" }, Object.values(others).map((each) => each.node)));
  node.replaceChildren(...[
    prompt.node,
    examples(model, prompt.control),
    el("div", { class: "row" }, el("button", { class: "primary", text: t("draw.submit") })),
    el("p", { class: "error", role: "alert" }),
    extras(usual, changed),
    details,
  ].filter(Boolean));
  node.oninput = () => {
    const [steps, width, height] = ["num_inference_steps", "width", "height"]
      .map((name) => draft.fields[name] || fields[name].usual);
    summary.textContent = `${sampler.title} · ${steps} · ${width}×${height}`;
  };
  node.oninput();
  return fields;
}

/** Return what the draft names; it forgets a name that is not there any more. */
function chosen(list, field) {
  const found = list.find(({ name }) => name === draft.fields[field]);
  if (!found) delete draft.fields[field];
  return found;
}

function examples(model, control) {
  const chinese = (text) => /[\u3400-\u9fff]/.test(text);
  const own = model.examples.filter((text) => chinese(text) === (language.current === "zh"));
  const shown = own.length ? own : model.examples;
  const learned = model.name === "emoji" && model.languages.includes("zh");
  return el("div", { class: "stack draw-examples" },
    shown.length > 0 && el("div", { class: "row" },
      el("span", { class: "hint", text: t("draw.try") }),
      shown.map((text) => button(text, () => {
        control.value = draft.fields.prompt = text;
        keep();
        control.focus();
      }, CHIP))),
    learned && el("p", { class: "hint", text: t("draw.emoji") }));
}

function seedButtons(control, changed) {
  const take = (seed) => {
    draft.fields.seed = String(seed);
    draft.locked = true;
    changed();
  };
  const offer = (name, act, props) =>
    button(t(`draw.seed.${name}`), act, { ...CHIP, id: `draw-seed-${name}`, ...props });
  return el("div", { class: "row" },
    offer("lock", () => {
      draft.locked = !draft.locked;
      if (draft.locked && !control.value) take(randomSeed());
      else changed();
    }, { "aria-pressed": String(draft.locked) }),
    offer("shuffle", () => take(randomSeed())),
    offer("reuse", () => take(all()[0].request.seed), { hidden: !all().length }));
}

function extras(usual, changed) {
  const shown = Object.entries(draft.extras)
    .filter(([name, value]) => name !== "schedule" || value !== usual);
  return shown.length > 0 && el("div", { class: "row" }, shown.map(([name, value]) =>
    button(`${name} ${value} ×`, () => {
      delete draft.extras[name];
      changed();
    }, { ...CHIP, "aria-label": t("draw.extra", { name, value }) })));
}

/** Show errors beside the fields that they name, and a problem that names others above them. */
function showErrors(node, fields, errors, problem = null) {
  for (const each of Object.values(fields)) each.fail("");
  const named = errors.filter(({ field }) => field in fields);
  for (const { field, detail } of named) fields[field].fail(detail);
  const whole = problem && named.length < Math.max(1, errors.length);
  node.querySelector(":scope > .error").textContent = whole ? problem.message : "";
  if (!named.length) return;
  const { node: place, control } = fields[named[0].field];
  const details = node.querySelector("details");
  if (details.contains(place)) details.open = true;
  control.focus();
}
