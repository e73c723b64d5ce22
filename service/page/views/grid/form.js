// The form of a grid: a prompt, two axes; all else is what Draw holds.

import { el } from "../../lib/el.js";
import { field } from "../../lib/field.js";
import { t } from "../../lib/words.js";
import { draft, randomSeed, requestOf } from "../../jobs/draft.js";
import { PARAMETERS, axisOf, split } from "./axes.js";

const MOST = 64; // cells

/** Return {node, read(models), blame(problem)}; `before` is the text of its fields by name. */
export function gridForm(before = {}) {
  const texts = { prompt: draft.fields.prompt || "red heart", x: "steps", xs: PARAMETERS.steps[2],
    y: "guidance", ys: PARAMETERS.guidance[2], ...before };
  const choices = () => Object.keys(PARAMETERS).map((value) =>
    el("option", { value, text: t(`grid.${value}`) }));
  const make = (name, control, hint) =>
    field(`grid-${name}`, t(`grid.${name}`), control, hint && t(`grid.${hint}.hint`));
  const all = {
    prompt: make("prompt", el("input"), "prompt"),
    x: make("x", el("select", {}, choices())),
    xs: make("xs", el("input"), "values"),
    y: make("y", el("select", {}, el("option", { value: "", text: t("grid.nothing") }), choices())),
    ys: make("ys", el("input"), "values"),
  };
  for (const [name, { control }] of Object.entries(all)) control.value = texts[name];
  const text = (name) => all[name].control.value;
  const base = Object.entries(requestOf(draft)).filter(([name]) =>
    !["prompt", "num_images", "priority"].includes(name));
  const button = el("button", { class: "primary" });
  const failure = el("p", { class: "error", role: "alert" });
  const rest = base.map(([name, value]) => `${name} ${value}`).join(", ") || t("grid.usual");
  const node = el("form", { class: "card grid-form", novalidate: true },
    Object.values(all).map((each) => each.node),
    el("p", { class: "hint" }, `${t("grid.else")} `, el("a", { href: "#/draw", text: rest })),
    button, failure);

  function show() {
    all.ys.node.hidden = !text("y");
    const n = split(text("xs")).length * (text("y") ? split(text("ys")).length : 1);
    button.textContent = t("grid.draw", { n });
    return n;
  }
  for (const place of ["x", "y"]) {
    all[place].control.addEventListener("change", () => {
      all[`${place}s`].control.value = PARAMETERS[text(place)]?.[2] ?? "";
      show();
    });
  }
  node.addEventListener("input", show);
  show();

  function fail(name, words) {
    all[name].fail(words);
    all[name].control.focus();
  }

  return {
    node,

    /** Return {texts, x, y, request}; null if something is wrong, which is said at its field. */
    read(models) {
      const known = models.length ? { model: models.map((each) => each.name),
        sampler: models.flatMap((each) => each.samplers.map((sampler) => sampler.name)) } : {};
      for (const each of Object.values(all)) each.fail("");
      failure.textContent = "";
      const axes = {};
      for (const place of ["x", "y"]) {
        try {
          const name = text(place);
          if (place === "y" && name === text("x") && name !== "words") throw ["grid.same"];
          axes[place] = axisOf(place, name, text(`${place}s`), text("prompt"), known[name]);
        } catch (wrong) {
          return fail(`${place}s`, t(...wrong));
        }
      }
      const n = show();
      if (n > MOST) return fail("xs", t("grid.many", { n, most: MOST }));
      return {
        texts: Object.fromEntries(Object.keys(all).map((name) => [name, text(name)])), ...axes,
        request: { seed: randomSeed(), ...Object.fromEntries(base), prompt: text("prompt") },
      };
    },

    /** Say what was refused, beside the field of the axis that it names. */
    blame({ message, errors = [] }) {
      const place = ["x", "y"].find((each) =>
        errors.some(({ field: name }) => name === PARAMETERS[text(each)]?.[0]));
      if (place) fail(`${place}s`, message);
      else failure.textContent = message;
    },
  };
}
