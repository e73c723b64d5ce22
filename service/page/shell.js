// The header and what lies over the views: navigation, language, key, the state of the connection.

import { button, el, set } from "./lib/el.js";
import { key } from "./lib/key.js";
import { language, spoken, t } from "./lib/words.js";
import { connection, on } from "./jobs/jobs.js";
import { VIEWS } from "./views.js";

let wanted = false; // whether the service has asked for a key

/** Draw the header; return a function that marks the view that is shown. */
export function drawHeader(header) {
  document.querySelector(".skip").textContent = t("shell.skip");
  const links = Object.keys(VIEWS).map((name) =>
    el("a", { href: `#/${name}`, data: { name }, text: t(`nav.${name}`) }));
  const others = Object.entries(language.all).filter(([tag]) => tag !== language.current);
  const keyButton = button(t("shell.key"), () => askForKey(), { class: "quiet" });
  const status = el("p", { class: "shell-status", role: "status" });
  header.replaceChildren(
    el("a", { class: "shell-name", href: "#/draw", text: "sfumato", "aria-label": "Sfumato" }),
    el("nav", { "aria-label": t("shell.nav") }, links),
    el("div", { class: "shell-tools" }, keyButton, others.map(([tag, name]) =>
      button(name, () => language.set(tag), { class: "quiet", lang: tag }))),
    status,
  );
  drawHeader.off?.();
  const showState = () => {
    const { state, problem } = connection;
    const text = state === "away" ? t("shell.away")
      : state === "refused" ? t("shell.refused", { detail: spoken(problem.code) ?? problem.message }) : "";
    if (status.textContent !== text) status.textContent = text;
    keyButton.hidden = !wanted && !key.current;
  };
  drawHeader.off = on((entry) => entry === null && showState());
  showState();
  return (name) => {
    for (const link of links) {
      set(link, "aria-current", link.dataset.name === name ? "page" : null);
    }
  };
}

/** Ask for the API key, saying why if the service has refused a request. */
export function askForKey(code = null) {
  wanted = true;
  if (document.querySelector("dialog.key[open]")) return;
  const field = el("input", { type: "password", id: "key", autocomplete: "off", value: "" });
  field.value = key.current ?? "";
  const remember = el("input", { type: "checkbox", id: "key-remember" });
  const use = (text) => {
    key.set(text.trim(), { remember: remember.checked });
    dialog.close();
  };
  const dialog = el("dialog", { class: "key card", "aria-labelledby": "key-title",
    on: { close: () => dialog.remove() } },
  el("form", { class: "stack", on: { submit: (event) => {
    event.preventDefault();
    use(field.value);
  } } },
  el("h2", { id: "key-title", text: t("shell.key") }),
  el("p", { class: "hint", text: t(code === "invalid_key" ? "key.wrong" : "key.why") }),
  el("div", { class: "field" }, el("label", { for: "key", text: t("shell.key") }), field),
  el("label", { class: "check" }, remember, t("key.remember")),
  el("div", { class: "row" },
    el("button", { class: "primary", text: t("key.use") }),
    key.current && button(t("key.forget"), () => use("")),
    button(t("key.close"), () => dialog.close(), { class: "quiet" }))));
  document.body.append(dialog);
  dialog.showModal();
  field.focus();
}
