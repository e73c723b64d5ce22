// Submissions that wait because the service cannot take them now, with a countdown.

import { button, el } from "../../lib/el.js";
import { spoken, t } from "../../lib/words.js";
import { submit } from "../../jobs/jobs.js";

const waiting = new Map(); // it outlives the view: a submission goes on when another view is shown
let changed = () => {};

/** Submit a request; `fail(problem)` is called if it is refused. */
export async function submitPatiently(request, fail) {
  const giving = new AbortController();
  try {
    await submit(request, {
      signal: giving.signal,
      onWait(problem, seconds) {
        const until = Date.now() + 1000 * seconds;
        waiting.set(request, { problem, until, give_up: () => giving.abort() });
        changed();
      },
    });
  } catch (problem) {
    if (!giving.signal.aborted) fail(problem);
  }
  waiting.delete(request);
  changed();
}

/** Return {node, off}: a list of what waits. */
export function pendingList() {
  const node = el("ul", { class: "stack" });
  const shown = new Map();
  changed = () => {
    for (const [request, item] of shown) {
      if (waiting.has(request)) continue;
      item.remove();
      shown.delete(request);
    }
    for (const [request, { problem, until, give_up }] of waiting) {
      if (!shown.has(request)) {
        shown.set(request, el("li", { class: "card row", role: "status" }, el("p"),
          button(t("draw.give_up"), give_up, { class: "chip" })));
        node.append(shown.get(request));
      }
      const detail = problem.code === "unreachable" ? t("job.unreachable")
        : spoken(problem.code) ?? `${problem.message}.`;
      const n = Math.max(0, Math.ceil((until - Date.now()) / 1000));
      const text = t("draw.wait", { prompt: request.prompt, detail, n });
      const place = shown.get(request).firstChild;
      if (place.textContent !== text) place.textContent = text;
    }
    node.hidden = !waiting.size;
  };
  changed();
  const timer = setInterval(() => changed(), 500);
  return {
    node,
    off() {
      clearInterval(timer);
      changed = () => {};
    },
  };
}
