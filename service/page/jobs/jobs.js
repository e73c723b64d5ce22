// The jobs that this browser follows. An entry: {id, status, request, progress, eta_s,
// queue_position, previews, images, error, warnings, created_at, finished_at, finished_early,
// timings, origin, fleeting}; previews[i] = {src, step, of} and images[i] = {index, seed, width,
// height, blob, …} of image i. A job of another view than Draw has its name as `origin` and is not in
// the gallery; a `fleeting` one is not on the disk, either.

import { call, fetchBlob } from "../lib/api.js";
import { follow } from "../lib/events.js";
import { sleep } from "../lib/time.js";
import * as store from "./store.js";

const MOST = 400; // jobs that one stream follows
const FIELDS = [
  "id", "status", "request", "progress", "eta_s", "queue_position", "error", "warnings",
  "created_at", "finished_at", "finished_early", "timings",
];
const entries = new Map();
const listeners = new Set();

/** How the stream is: {state: "idle" | "open" | "away" | "refused", problem}. */
export const connection = { state: "idle", problem: null };

/** Whether a job will not change any more. */
export const ended = (entry) => !["queued", "running"].includes(entry.status);

/** Resolves once the jobs of former visits are here, and followed where they have not ended. */
export const ready = store.load().catch(() => []).then((kept) => {
  for (const entry of kept) entries.set(entry.id, { ...entry, previews: [] });
  for (const entry of entries.values()) if (ended(entry)) fetchImages(entry);
  refollow();
});

/** Return the entries of a view, the newest first; without a name, those of Draw. */
export const all = (origin) => [...entries.values()].filter((entry) => entry.origin === origin)
  .sort((a, b) => (a.created_at < b.created_at ? 1 : -1));

/** Return an entry by its id. */
export const get = (id) => entries.get(id);

/** Call `listener(entry, event)` whenever an entry changes, with the stream's event if one did it;
 *  its `status` is "removed" at last. Called with (null) when the connection changes. */
export function on(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const tell = (entry, event) => listeners.forEach((listener) => listener(entry, event));

/** Submit a job, wait while the service cannot take it, follow it. `onWait(problem, seconds)` is
 *  called before each further try. Throws: Problem that will not pass; AbortError, with the job
 *  canceled if it was on its way. */
export async function submit(request, { signal, onWait = () => {}, origin, fleeting } = {}) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const once = [...bytes].map((each) => each.toString(16).padStart(2, "0")).join("");
  for (let failures = 0; ; failures++) {
    try {
      const headers = { "idempotency-key": `"${once}"` };
      const view = await call("v1/jobs", { method: "POST", json: request, headers });
      if (signal?.aborted) await call(`v1/jobs/${view.id}/cancel`, { method: "POST" });
      signal?.throwIfAborted();
      const entry = update(view, undefined, { origin, fleeting });
      refollow();
      if (!origin) tabs?.postMessage({ came: entry.id });
      return entry;
    } catch (problem) {
      if (!problem.passing) throw problem;
      const seconds = problem.retryAfterS ?? Math.min(15, 2 ** failures);
      onWait(problem, seconds);
      await sleep(1000 * seconds, signal);
      signal?.throwIfAborted();
    }
  }
}

/** Cancel a job. Throws: Problem. */
export const cancel = async (id) => update(await call(`v1/jobs/${id}/cancel`, { method: "POST" }));

/** End a running job at its current step. Throws: Problem. */
export const finish = async (id) => update(await call(`v1/jobs/${id}/finish`, { method: "POST" }));

/** Delete a job here and on the server. Throws: Problem. */
export async function remove(id) {
  try {
    await call(`v1/jobs/${id}`, { method: "DELETE" });
  } catch (problem) {
    if (problem.status !== 404) throw problem;
  }
  await forget(id);
  tabs?.postMessage({ left: id });
}

async function forget(id) {
  const entry = entries.get(id);
  entries.delete(id); // first: an event that comes meanwhile would put it on the disk again
  await store.drop(id);
  if (entry) tell(Object.assign(entry, { status: "removed" }));
}

function update(view, event, own = {}) {
  const entry = entries.get(view.id) ?? { previews: [], images: [], ...own };
  const before = entry.status;
  if (before && ended(entry) && !ended(view)) return entry; // an answer that the end has overtaken
  for (const field of FIELDS) entry[field] = view[field];
  entry.images = view.images.map((image) => // one that is being fetched stays the same object
    Object.assign(entry.images.find((old) => old.index === image.index) ?? {}, image));
  entries.set(entry.id, entry);
  if (entry.status !== before) keep(entry);
  if (ended(entry)) fetchImages(entry);
  tell(entry, event);
  return entry;
}

function keep(entry) {
  if (entry.fleeting) return;
  const { previews, fetching, seen, ...kept } = entry;
  store.put(kept).catch(() => {}); // the disk is full: it stays in memory
}

async function fetchImages(entry) {
  const missing = entry.images.filter((image) => !image.blob && !image.lost);
  if (!missing.length || entry.fetching) return;
  entry.fetching = true;
  for (const image of missing) {
    for (let failures = 0; !image.blob && !image.lost; failures++) {
      try {
        image.blob = await fetchBlob(`v1/jobs/${entry.id}/images/${image.index}`);
      } catch (problem) {
        if (problem.passing) await sleep(Math.min(30_000, 1000 * 2 ** failures));
        else if (problem.status === 401) break; // once there is a key
        else image.lost = true;
      }
    }
    tell(entry);
  }
  entry.fetching = false;
  if (entries.has(entry.id)) keep(entry);
}

// The stream: one for all jobs, opened anew when a job is added.

let current = null; // what aborts it
let last; // id of the newest event
let due = null;

const active = () => [...entries.values()].filter((entry) => !ended(entry)).slice(-MOST);

function refollow() {
  due ??= setTimeout(async () => {
    due = null;
    current?.abort();
    if (!active().length) return state("idle");
    const own = (current = new AbortController());
    const path = () => `v1/events?${active().map(({ id }) => `job=${id}`).join("&")}`;
    try {
      await follow(path, (event) => take(event, own), {
        signal: own.signal, lastEventId: last, onState: state,
      });
    } catch (problem) {
      if (!own.signal.aborted) state("refused", problem);
    }
  }, 30);
}

function take(event, own) {
  const { data } = event;
  const entry = entries.get(data.job);
  if (event.id) last = event.id;
  if (entry && !(event.id && entry.seen && !later(event.id, entry.seen))) {
    entry.seen = event.id ?? entry.seen;
    if (event.event === "progress") {
      const { step, total, eta_s } = data;
      Object.assign(entry, { eta_s, progress: { step, total, fraction: step / total } });
      tell(entry, event);
    } else if (event.event === "preview") {
      const src = `data:${data.content_type};base64,${data.data}`;
      entry.previews[data.image] = { src, step: data.step, of: data.of };
      tell(entry, event);
    } else if (event.event === "gone") {
      entry.status = "gone";
      keep(entry);
      tell(entry, event);
    } else update(data, event);
  }
  if (!active().length) {
    own.abort();
    state("idle");
  }
}

function later(id, other) {
  const [[ms, n], [otherMs, otherN]] = [id, other].map((each) => each.split("-").map(Number));
  return ms > otherMs || (ms === otherMs && n > otherN);
}

function state(name, problem = null) {
  Object.assign(connection, { state: name, problem });
  tell(null);
}

// What other tabs of this browser submit and delete.
const tabs = globalThis.BroadcastChannel && new BroadcastChannel("sfumato.jobs");

if (tabs) tabs.onmessage = async ({ data: { came, left } }) => {
  if (left) return forget(left);
  const view = await call(`v1/jobs/${came}`).catch(() => null); // after the next reload, then
  if (!view || entries.has(came)) return;
  update(view);
  refollow();
};

addEventListener("keychanged", () => {
  for (const entry of entries.values()) if (ended(entry)) fetchImages(entry);
  refollow();
});
