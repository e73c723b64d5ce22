// The router: shows the view that the address names, #/NAME/rest/of/it.

import "./lib/codes.js";
import { button, el } from "./lib/el.js";
import { register, t } from "./lib/words.js";
import { ready } from "./jobs/jobs.js";
import { askForKey, drawHeader } from "./shell.js";
import { words } from "./shell_words.js";
import { VIEWS } from "./views.js";

const header = document.querySelector(".shell-header");
const main = document.querySelector("main");
const loaded = new Map();
let mark = () => {};
let takeDown = () => {};
let shown = 0;

function load(name) {
  if (!loaded.has(name)) {
    const styled = new Promise((resolve, reject) => {
      const href = new URL(`style/${name}.css`, import.meta.url).href;
      document.head.append(el("link", {
        rel: "stylesheet", href, on: { load: resolve, error: reject },
      }));
    });
    const found = Promise.all([VIEWS[name](), styled, ready]).then(([view]) => {
      register(view.words);
      return view;
    });
    found.catch(() => loaded.delete(name));
    loaded.set(name, found);
  }
  return loaded.get(name);
}

function parts() {
  try {
    return location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  } catch {
    return []; // a stray % in the address
  }
}

async function show({ focus = true } = {}) {
  const [wanted, ...rest] = parts();
  const name = wanted in VIEWS ? wanted : Object.keys(VIEWS)[0];
  const turn = ++shown;
  mark(name);
  let view;
  try {
    view = await load(name);
  } catch {
    if (turn === shown) showFailure();
    return;
  }
  if (turn !== shown) return; // another view was chosen meanwhile
  takeDown();
  const title = t(typeof view.title === "function" ? view.title(rest) : view.title);
  document.title = `${title} · Sfumato`;
  const heading = el("h1", { tabindex: "-1", text: title });
  const root = el("div", { class: `view ${name}` });
  main.replaceChildren(heading, root);
  takeDown = view.show(root, rest) ?? (() => {});
  if (focus) {
    scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }
}

function showFailure() {
  takeDown();
  takeDown = () => {};
  main.replaceChildren(el("div", { class: "card stack" },
    el("p", { role: "alert", text: t("shell.broken") }),
    button(t("shell.again"), () => show())));
}

register(words);
mark = drawHeader(header);
addEventListener("hashchange", () => show());
addEventListener("languagechosen", () => {
  mark = drawHeader(header);
  show({ focus: false });
});
addEventListener("keywanted", (event) => askForKey(event.detail));
addEventListener("keychanged", () => {
  mark = drawHeader(header);
  show({ focus: false });
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
show({ focus: false });
