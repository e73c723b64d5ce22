// The request that Draw is about to submit: what its fields hold, kept until the tab is closed.

const KEPT = "sfumato.draft";
const listeners = new Set();

/** Fields of a request that Draw has a control for; an empty one leaves the choice to the model. */
export const FIELDS = [
  "prompt", "negative_prompt", "model", "sampler", "num_inference_steps", "guidance_scale", "seed",
  "width", "height", "num_images", "priority",
];
/** Fields that a former request may bring along, with the values that say nothing. */
export const EXTRAS = {
  schedule: null, eta: null, guidance_rescale: 0, prompt_syntax: "plain", output_format: "png",
};
const NUMBERS = new Set([
  "num_inference_steps", "guidance_scale", "seed", "width", "height", "num_images", "eta",
  "guidance_rescale",
]);

/** {fields: {name: text}, extras: {name: value}, locked: whether the seed stays}. */
export const draft = { fields: {}, extras: {}, locked: false, ...kept() };

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}

/** Keep the draft as it is now. */
export function keep() {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(draft));
  } catch { /* it lasts as long as the page */ }
}

/** Fill the draft from a request, such as a job's. */
export function fill(request) {
  draft.fields = {};
  for (const name of FIELDS) draft.fields[name] = String(request[name] ?? "");
  draft.extras = {};
  for (const [name, usual] of Object.entries(EXTRAS)) {
    const value = request[name] ?? usual;
    if (value !== usual) draft.extras[name] = value;
  }
  draft.locked = draft.fields.seed !== "";
  keep();
  listeners.forEach((listener) => listener());
}

/** Call `listener` whenever the draft is filled from a request. */
export function onFilled(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Return the request that the draft stands for. */
export function requestOf({ fields, extras }) {
  const request = { prompt: fields.prompt ?? "", ...extras };
  for (const [name, text] of Object.entries(fields)) {
    if (text !== "" && name !== "prompt") request[name] = NUMBERS.has(name) ? Number(text) : text;
  }
  return request;
}

/** Return a seed at random, as the service draws them. */
export const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];
