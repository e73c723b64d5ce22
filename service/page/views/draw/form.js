// The form: prompt, examples, and settings that show what the model takes by itself.

import { button, el } from "../../lib/el.js";
import { language, t } from "../../lib/words.js";
import { all, on } from "../../jobs/jobs.js";
import { draft, keep, onFilled, randomSeed, requestOf } from "../../jobs/draft.js";
import { choiceField, numberField, numbers, textField, wrong } from "./controls.js";

const CHIP = { class: "chip" };
let settingsOpen = false;

/** Return {node, off}; `onSubmit(request, fail)` gets each request, and may report a Problem. */
export function drawForm(models, onSubmit) {
  const node = el("form", { class: "card stack", novalidate: true });
  let fields = {};
  const build = () => {
    const focused = node.contains(document.activeElement) ? document.activeElement.id : "";
    fields = filled(node, models, build);
    if (focused) document.getElementById(focused)?.focus();
  };
  const fail = (problem) => showProblem(node, fields, problem);
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!check(node, fields)) return;
    onSubmit(requestOf(draft), fail);
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

function filled(node, models, rebuild) {
  const model = chosen(models, "model") ?? models[0];
  const sampler = chosen(model.samplers, "sampler")
    ?? model.samplers.find(({ name }) => name === model.default_sampler);
  const usual = sampler.schedules.includes(model.default_schedule) ? model.default_schedule
    : sampler.default_schedule;
  const schedule = draft.extras.schedule ?? usual;
  const bounds = numbers(model, sampler, schedule);
  const changed = () => {
    keep();
    rebuild();
  };
  const otherSolver = () => { // what a former request says of the sampler is of the former sampler
    delete draft.extras.schedule;
    delete draft.extras.eta;
    changed();
  };
  const titles = (list) => Object.fromEntries(list.map(({ name, title }) => [name, title]));
  const size = el("p", { class: "hint", id: "draw-size-hint",
    text: t("draw.size.hint", bounds.width) });
  const fields = {
    prompt: textField("prompt", 2),
    negative_prompt: textField("negative_prompt", 1),
    model: choiceField("model", titles(models), model.name, otherSolver),
    sampler: choiceField("sampler", titles(model.samplers), sampler.name, otherSolver),
    num_inference_steps: numberField("num_inference_steps", bounds.num_inference_steps),
    guidance_scale: numberField("guidance_scale", bounds.guidance_scale),
    seed: numberField("seed", bounds.seed),
    width: numberField("width", bounds.width, "", size.id),
    height: numberField("height", bounds.height, "", size.id),
    num_images: numberField("num_images", bounds.num_images),
    priority: choiceField("priority",
      { high: t("draw.high"), normal: t("draw.normal"), low: t("draw.low") }, "normal"),
  };
  for (const name of withoutEffect(model)) delete fields[name];
  const { prompt, ...others } = fields;
  others.seed.node.insertBefore(seedButtons(others.seed.control, changed),
    others.seed.control.nextSibling);
  const summary = el("span", { class: "hint" });
  const value = (name) => draft.fields[name] || bounds[name].usual;
  const settings = el("details", { open: settingsOpen, on: { toggle({ target }) {
    settingsOpen = target.open;
  } } },
  el("summary", {}, t("draw.settings"), " ", summary),
  el("div", { class: "draw-settings" }, Object.values(others).map(({ node }) => node)));
  others.height.node.after(size);
  node.replaceChildren(...[
    prompt.node,
    examples(model, prompt.control),
    el("div", { class: "row" }, el("button", { class: "primary", text: t("draw.submit") })),
    el("p", { class: "error", role: "alert" }),
    extras(usual, changed),
    settings,
  ].filter(Boolean));
  const summarize = () => {
    summary.textContent = [
      sampler.title, value("num_inference_steps"), value("guidance_scale"),
      `${value("width")}×${value("height")}`,
    ].join(" · ");
  };
  summarize();
  node.oninput = summarize;
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

/** Return the fields that this model does not use. */
const withoutEffect = ({ prompt, embeds_guidance: embedded }) => [
  ...(prompt === "text" ? [] : ["guidance_scale"]),
  ...(prompt === "text" && !embedded ? [] : ["negative_prompt"]),
];

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

function check(node, fields) {
  showProblem(node, fields, null);
  const bad = Object.values(fields).filter((each) => {
    const text = each.bounds ? wrong(each) : "";
    each.fail(text);
    return text;
  });
  if (!bad.length) return true;
  reveal(node, bad[0]);
  return false;
}

/** Show a problem beside the fields that it names, and above all of them what names none. */
function showProblem(node, fields, problem) {
  for (const each of Object.values(fields)) each.fail("");
  const named = (problem?.errors ?? []).filter(({ field }) => field in fields);
  for (const { field, detail } of named) fields[field].fail(detail);
  const rest = problem && named.length < Math.max(1, problem.errors.length) ? problem.message : "";
  node.querySelector(":scope > .error").textContent = rest;
  if (named.length) reveal(node, fields[named[0].field]);
}

function reveal(node, { node: place, control }) {
  const details = node.querySelector("details");
  if (details.contains(place)) details.open = true;
  control.focus();
}
