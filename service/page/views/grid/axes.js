// What a grid varies: two axes of a parameter and its values, and the requests of its cells.

const whole = (text) => (/^\d+$/.test(text) ? Number(text) : NaN);
const real = (text) => Number(text || NaN);
const word = (text) => text || NaN;

/** Each parameter: its field of a request, how a value is read, values to begin with. */
export const PARAMETERS = {
  steps: ["num_inference_steps", whole, "2, 4, 8, 16, 32"],
  guidance: ["guidance_scale", real, "1, 2, 4, 8"],
  sampler: ["sampler", word, "euler, euler_ancestral, dpmpp_2m, ddpm"],
  seed: ["seed", whole, "1, 2, 3, 4"],
  words: ["prompt", word, ""],
  schedule: ["schedule", word, "karras, linspace, trailing"],
  eta: ["eta", real, "0, 0.5, 1"],
  rescale: ["guidance_rescale", real, "0, 0.5, 1"],
  model: ["model", word, ""],
};
export const split = (text) => text.split(/[,，、]/).map((each) => each.trim());

/** Return an axis, {name, values}, of x or y. Throws: [key of words, its values], it is wrong. */
export function axisOf(place, name, text, prompt, known) {
  if (!name) return { name, values: [""] };
  const given = split(text);
  const values = given.map(PARAMETERS[name][1]);
  const wrong = values.findIndex((each) => Number.isNaN(each) || known?.includes(each) === false);
  if (wrong >= 0) throw ["grid.wrong", { value: given[wrong] }];
  if (new Set(values).size < values.length) throw ["grid.twice"];
  const mark = `{${place}}`;
  if (name === "words" && !prompt.includes(mark)) throw ["grid.nowhere", { mark }];
  return { name, values };
}

/** Return the cells, row by row: {x, y, request}. */
export function cellsOf(x, y, request) {
  const applied = (to, place, { name }, value) => name === "words"
    ? { ...to, prompt: to.prompt.replaceAll(`{${place}}`, value) }
    : name ? { ...to, [PARAMETERS[name][0]]: value } : to;
  return y.values.flatMap((down) => x.values.map((across) =>
    ({ x: across, y: down, request: applied(applied(request, "x", x, across), "y", y, down) })));
}

/** Return how a value is shown. */
export const labelOf = ({ name }, value, t) =>
  ["", "words", "sampler", "schedule", "model"].includes(name) ? value : `${t(`grid.${name}`)} ${value}`;
