// The API key, where the service asks for one.

const KEPT = "sfumato.key";

function stores() {
  try {
    return [sessionStorage, localStorage];
  } catch {
    return []; // storage is turned off
  }
}

let current = stores().map((each) => each.getItem(KEPT)).find(Boolean) ?? null;

export const key = {
  get current() {
    return current;
  },

  /** Use a key: until the tab is closed, or for as long as the browser keeps it. */
  set(text, { remember = false } = {}) {
    current = text || null;
    for (const each of stores()) each.removeItem(KEPT);
    const [session, device] = stores();
    if (current) (remember ? device : session)?.setItem(KEPT, current);
    dispatchEvent(new Event("keychanged"));
  },
};
