// The controls of Draw with their bounds, as the model and the sampler set them.

import { el, set } from "../../lib/el.js";
import { field } from "../../lib/field.js";
import { t } from "../../lib/words.js";
import { draft, keep } from "../../jobs/draft.js";

const MOST_IMAGES = 16; // of a job
const GUIDANCE = { min: 1, max: 30 };

/** Return the bounds and defaults of the number fields: {name: {min, max, step, usual}}. */
export function numbers(model, sampler, schedule) {
  const side = { min: model.min_side, max: model.max_side, step: model.side_multiple };
  const most = sampler.schedule_max_steps[schedule] ?? sampler.max_steps;
  return {
    num_inference_steps: { min: 1, max: most, step: 1, usual: Math.min(model.default_steps, most) },
    guidance_scale: { ...GUIDANCE, step: 0.5, usual: model.default_guidance_scale },
    seed: { min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, usual: t("draw.seed.any") },
    width: { ...side, usual: model.width },
    height: { ...side, usual: model.height },
    num_images: { min: 1, max: MOST_IMAGES, step: 1, usual: 1 },
  };
}

/** Return a text field of the draft. */
export function textField(name, rows) {
  const control = el("textarea", { rows, maxlength: 4000, on: { input: held(name) } });
  control.value = draft.fields[name] ?? "";
  return field(`draw-${name}`, t(`draw.${name}`), control, t(`draw.${name}.hint`));
}

/** Return a field with a number of the draft; empty, it shows what the model would take. Another
 *  element's hint may describe it. */
export function numberField(name, bounds, hint = t(`draw.${name}.hint`, bounds), describedBy = "") {
  const { min, max, step, usual } = bounds;
  const control = el("input", {
    type: "number", inputmode: step === 1 ? "numeric" : "decimal", min, max, step,
    placeholder: usual, on: { input: held(name) },
  });
  control.value = draft.fields[name] ?? "";
  const made = field(`draw-${name}`, t(`draw.${name}`), control, hint);
  if (describedBy) set(control, "aria-describedby", `${describedBy} draw-${name}-error`);
  return { ...made, bounds };
}

/** Return a choice of the draft among {value: text}. */
export function choiceField(name, choices, usual, onChange = () => {}) {
  const chosen = draft.fields[name] || usual;
  const control = el("select", { on: { change(event) {
    held(name)(event);
    onChange();
  } } }, Object.entries(choices).map(([value, text]) =>
    el("option", { value, text, selected: value === chosen })));
  return field(`draw-${name}`, t(`draw.${name}`), control, t(`draw.${name}.hint`));
}

function held(name) {
  return ({ target }) => {
    draft.fields[name] = target.value;
    set(target, "aria-invalid", null);
    keep();
  };
}

/** Return what is wrong with a number field, in words; "" if nothing is. */
export function wrong({ control, bounds: { min, max, step } }) {
  const { validity } = control;
  if (validity.badInput) return t("draw.number");
  if (validity.rangeUnderflow || validity.rangeOverflow) return t("draw.range", { min, max });
  if (validity.stepMismatch && step >= 1) return step === 1 ? t("draw.whole") : t("draw.step", { step });
  return "";
}
