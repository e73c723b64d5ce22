// A control with its label, a hint and a place for its error.

import { el, set } from "./el.js";

/** Return {node, control, fail(text)}; the hint and the error describe the control. */
export function field(id, label, control, hint = "") {
  control.id = id;
  const error = el("p", { class: "error", id: `${id}-error` });
  set(control, "aria-describedby", hint ? `${id}-hint ${id}-error` : `${id}-error`);
  const node = el("div", { class: "field" },
    el("label", { for: id, text: label }),
    control,
    hint && el("p", { class: "hint", id: `${id}-hint`, text: hint }),
    error);
  return {
    node,
    control,
    /** Show an error beside the control; "" takes it away. */
    fail(text) {
      error.textContent = text;
      set(control, "aria-invalid", text ? "true" : null);
    },
  };
}
