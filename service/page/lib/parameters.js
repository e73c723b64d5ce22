// What made a picture, from the texts of its file: a request for this service.

import { models, samplers } from "./api.js";

const SCHEDULES = {
  DDIM: "leading", Uniform: "linspace", Simple: "trailing", Karras: "karras",
  Exponential: "exponential", Beta: "beta", "SGM Uniform": "sgm_uniform", Automatic: "model",
};
const FIELDS = [
  "prompt", "negative_prompt", "prompt_syntax", "num_inference_steps", "sampler", "schedule", "eta",
  "guidance_scale", "guidance_rescale", "seed", "width", "height", "model",
];

/** Return a request, null if the texts say nothing. Throws: Problem. */
export async function requestOf({ sfumato, parameters }) {
  const known = await models();
  let request = sfumato && own(sfumato);
  if (!request && parameters) request = foreign(parameters, await samplers());
  if (!request) return null;
  const model = known.find(({ name }) => name === request.model);
  if (!model) delete request.model;
  const syntaxes = (model ?? known[0])?.prompt_syntaxes ?? [];
  if (!sfumato && /[([]/.test(request.prompt) && syntaxes.includes("a1111")) {
    request.prompt_syntax = "a1111";
  }
  return request;
}

function own(text) {
  try {
    const found = JSON.parse(text);
    if (typeof found.prompt !== "string") return null;
    return Object.fromEntries(FIELDS.filter((name) => found[name] !== undefined && found[name] !== null)
      .map((name) => [name, found[name]]));
  } catch {
    return null;
  }
}

/** Return a request from AUTOMATIC1111's text: prompt, negative prompt, a line of fields. */
export function foreign(text, known) {
  const lines = text.replace(/\0/g, "").trim().split("\n");
  const last = /(^|, )Steps: \d+/.test(lines.at(-1)) ? lines.pop() : "";
  const [prompt, negative = ""] = lines.join("\n").split(/^Negative prompt: ?/m);
  const fields = {};
  for (const [, name, value] of last.matchAll(/\s*([^:,"]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)/g)) {
    fields[name] = value.startsWith('"') ? unquoted(value) : value.trim();
  }
  if (!last && !prompt) return null;
  const [, width, height] = /^(\d+)x(\d+)$/.exec(fields.Size ?? "") ?? [];
  const request = {
    prompt: prompt.trim(), negative_prompt: negative.trim(), model: fields.Model,
    ...solver(fields, known),
  };
  const numbers = {
    num_inference_steps: fields.Steps, guidance_scale: fields["CFG scale"], seed: fields.Seed,
    width, height, eta: fields.Eta, guidance_rescale: fields["CFG Rescale"],
  };
  for (const [name, value] of Object.entries(numbers)) {
    if (Number.isFinite(Number.parseFloat(value))) request[name] = Number(value);
  }
  return request;
}

function unquoted(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text.slice(1, -1);
  }
}

/** Return the sampler and the schedule; former files name both in one: "DPM++ 2M Karras". */
function solver({ Sampler: title = "", "Schedule type": type }, known) {
  const named = (text) => known.find((each) => each.title.toLowerCase() === text.toLowerCase())?.name;
  const suffix = Object.keys(SCHEDULES).find((label) => title.endsWith(` ${label}`));
  const sampler = named(title) ?? (suffix && named(title.slice(0, -suffix.length - 1)));
  const schedule = SCHEDULES[type] ?? (named(title) ? undefined : SCHEDULES[suffix]);
  return { ...(sampler && { sampler }), ...(sampler && schedule && { schedule }) };
}
