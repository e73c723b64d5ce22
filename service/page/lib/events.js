// Server-sent events by fetch, which can send a key.

import { Problem, send } from "./api.js";
import { sleep } from "./time.js";

const SILENT_MS = 45_000; // the service sends a comment every 15 s: a silent stream is broken

/** Pass each event, {event, data, id}, to `onEvent` until the service ends the stream; `path` may
 *  be a function that returns it.
 *  Return false if none will follow. Throws: Problem. */
export async function stream(path, onEvent, { signal, lastEventId, onOpen = () => {} } = {}) {
  const broken = new AbortController();
  const stop = () => broken.abort();
  signal?.addEventListener("abort", stop, { once: true });
  let timer;
  let heardAt;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(stop, SILENT_MS);
    heardAt = Date.now();
  };
  const wake = () => Date.now() - heardAt > SILENT_MS && stop(); // timers sleep with the machine
  document.addEventListener("visibilitychange", wake);
  try {
    if (signal?.aborted) return true;
    heard();
    const headers = lastEventId ? { "last-event-id": lastEventId } : {};
    const target = typeof path === "function" ? path() : path;
    const response = await send(target, { headers, signal: broken.signal });
    if (response.status === 204) return false;
    onOpen();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return true;
      heard();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parsed(block);
        if (event && !broken.signal.aborted) onEvent(event);
      }
    }
  } catch (error) {
    if (signal?.aborted) return true;
    throw error instanceof Problem ? error : new Problem({});
  } finally {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", wake);
    signal?.removeEventListener("abort", stop);
  }
}

function parsed(block) {
  const fields = { event: "message", data: [] };
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name === "data") fields.data.push(value);
    else if (name) fields[name] = value;
  }
  if (!fields.data.length) return null; // a comment
  return { ...fields, data: JSON.parse(fields.data.join("\n")) };
}

/** The same, connecting again and resuming until the signal is aborted or nothing will follow.
 *  `onState` learns "open", and "away" with the problem. Throws: Problem that will not pass. */
export async function follow(path, onEvent, { signal, lastEventId, onState = () => {} } = {}) {
  let last = lastEventId;
  let failures = 0;
  while (!signal?.aborted) {
    try {
      const more = await stream(path, (event) => {
        last = event.id ?? last;
        onEvent(event);
      }, {
        signal, lastEventId: last,
        onOpen() {
          failures = 0;
          onState("open");
        },
      });
      if (!more) return;
      await again(300, signal);
    } catch (problem) {
      if (!problem.passing) throw problem;
      onState("away", problem);
      const backoff = Math.min(15_000, 500 * 2 ** failures++) * (0.5 + Math.random() / 2);
      await again(Math.max(backoff, 1000 * (problem.retryAfterS ?? 0)), signal);
    }
  }
}

/** Wait, but no longer than until the network is back. */
async function again(ms, signal) {
  const waiting = new AbortController();
  const stop = () => waiting.abort();
  addEventListener("online", stop);
  signal?.addEventListener("abort", stop);
  await sleep(ms, waiting.signal);
  removeEventListener("online", stop);
  signal?.removeEventListener("abort", stop);
}
