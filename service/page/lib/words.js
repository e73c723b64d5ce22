// The page's texts in its languages.

const LANGUAGES = { en: "English", zh: "中文" };
const KEPT = "sfumato.language";
const all = { en: {}, zh: {} };

function remembered() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // storage is turned off
  }
}

function preferred() {
  const wanted = [remembered(), ...navigator.languages].map((tag) => (tag ?? "").slice(0, 2));
  return wanted.find((tag) => tag in LANGUAGES) ?? "en";
}

/** Add texts, {en: {"view.key": "text {n}"}, zh: {…}}. */
export function register(words) {
  for (const tag of Object.keys(LANGUAGES)) Object.assign(all[tag], words[tag]);
}

/** Return a text in the chosen language, with each {name} replaced by a value. */
export function t(key, values = {}) {
  const text = all[language.current][key] ?? all.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Return the page's words for a code of the service, null in the service's own language. */
export const spoken = (code) => all[language.current][`code.${code}`] ?? null;

/** Return what the service says of a job, after the page's words for it if it has any. */
export function said({ code, detail }) {
  const own = spoken(code);
  return own === null ? detail : `${own}（${detail}）`;
}

export const language = {
  current: preferred(),
  all: LANGUAGES,

  /** Choose a language; the shell and the view are drawn anew. */
  set(tag) {
    language.current = tag;
    document.documentElement.lang = tag;
    try {
      localStorage.setItem(KEPT, tag);
    } catch { /* it lasts as long as the page */ }
    dispatchEvent(new Event("languagechosen"));
  },
};

document.documentElement.lang = language.current;
