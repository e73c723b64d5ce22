// The controls of Draw, with the defaults and bounds of the model and the sampler.

import { el, set } from "../../lib/el.js";
import { field } from "../../lib/field.js";
import { t } from "../../lib/words.js";
import { draft, keep } from "../../jobs/draft.js";

/** Return {name: field} in their order, without those that the model does not use. */
export function controls(models, model, sampler, schedule, changed) {
  const { min_side: min, max_side: max, side_multiple: step, prompt, embeds_guidance } = model;
  const most = sampler.schedule_max_steps[schedule] ?? sampler.max_steps;
  const titles = (list) => Object.fromEntries(list.map(({ name, title }) => [name, title]));
  const priorities = ["high", "normal", "low"].map((name) => [name, t(`draw.${name}`)]);
  const whole = (name, low, high, usual) => number(name, { min: low, max: high, step: 1, usual });
  return {
    prompt: text("prompt", 2),
    ...(prompt === "text" && !embeds_guidance && { negative_prompt: text("negative_prompt", 1) }),
    model: choice("model", titles(models), model.name, changed),
    sampler: choice("sampler", titles(model.samplers), sampler.name, changed),
    num_inference_steps: whole("num_inference_steps", 1, most, Math.min(model.default_steps, most)),
    ...(prompt === "text" && { guidance_scale: number("guidance_scale",
      { min: 1, max: 30, step: 0.5, usual: model.default_guidance_scale }) }),
    seed: whole("seed", 0, Number.MAX_SAFE_INTEGER, t("draw.seed.any")),
    width: number("width", { min, max, step, usual: model.width }),
    height: number("height", { min, max, step, usual: model.height }),
    num_images: whole("num_images", 1, 16, 1),
    priority: choice("priority", Object.fromEntries(priorities), "normal"),
  };
}

const label = (name) => [`draw-${name}`, t(`draw.${name}`)];

function text(name, rows) {
  const control = el("textarea", { rows, on: { input: held(name) } });
  control.value = draft.fields[name] ?? "";
  return field(...label(name), control, t(`draw.${name}.hint`));
}

function number(name, { min, max, step, usual }) {
  const control = el("input", {
    type: "number", min, max, step, placeholder: usual, on: { input: held(name) },
  });
  control.value = draft.fields[name] ?? "";
  const made = field(...label(name), control, t(`draw.${name}.hint`, { min, max, step }));
  return { ...made, usual, wrong: () => wrong(control.validity, min, max, step) };
}

function choice(name, choices, usual, changed = () => {}) {
  const chosen = draft.fields[name] || usual;
  const options = Object.entries(choices).map(([value, title]) =>
    el("option", { value, text: title, selected: value === chosen }));
  const control = el("select", { on: { input: held(name), change: changed } }, options);
  return field(...label(name), control, t(`draw.${name}.hint`));
}

const held = (name) => ({ target }) => {
  draft.fields[name] = target.value;
  set(target, "aria-invalid", null);
  keep();
};

function wrong({ badInput, rangeUnderflow, rangeOverflow, stepMismatch }, min, max, step) {
  if (badInput) return t("draw.number");
  if (rangeUnderflow || rangeOverflow) return t("draw.range", { min, max });
  return stepMismatch && step >= 1 ? t("draw.step", { step }) : "";
}
