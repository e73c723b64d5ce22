// The service's API: JSON in and out, errors as Problems.

import { key } from "./key.js";

/** URL of the service, with whatever path prefix a proxy gives it; ends in "/". */
export const base = new URL("../../", import.meta.url).href;

/** An error of the service; `code` is "unreachable" if it was not reached. */
export class Problem extends Error {
  constructor({ status = 0, code = "unreachable", detail = "", errors = [] }, retryAfterS = null) {
    super(detail || code);
    Object.assign(this, { status, code, detail, errors, retryAfterS });
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429
      || (this.status >= 502 && this.status <= 504);
  }
}

/** Return the response to a request below `base`. Throws: Problem, if it is not 2xx. */
export async function send(path, { method = "GET", json, headers = {}, signal } = {}) {
  const all = { ...headers };
  if (key.current) all.authorization = `Bearer ${key.current}`;
  if (json !== undefined) all["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL(path.replace(/^\//, ""), base), {
      method, headers: all, signal, body: json === undefined ? undefined : JSON.stringify(json),
      cache: "no-store",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem({});
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  const seconds = Number.parseFloat(response.headers.get("retry-after"));
  let body = {};
  try {
    body = await response.json();
  } catch { /* of a proxy, which has its own shape */ }
  const { code = `http_${response.status}`, detail = response.statusText, errors } = body;
  if (response.status === 401) dispatchEvent(new CustomEvent("keywanted", { detail: code }));
  return new Problem({ status: response.status, code, detail, errors },
    Number.isFinite(seconds) ? seconds : null);
}

/** Return the JSON of a response, null if it has none. Throws: Problem. */
export async function call(path, options) {
  const response = await send(path, options);
  return response.status === 204 ? null : response.json();
}

/** Return the bytes of a response. Throws: Problem. */
export async function fetchBlob(path, options) {
  return (await send(path, options)).blob();
}

const MODELS_MS = 10_000; // workers may bring others
const cached = new Map();

function once(path, ms = Infinity) {
  if (!(cached.get(path)?.until > Date.now())) {
    const found = call(path);
    found.catch(() => cached.delete(path));
    cached.set(path, { found, until: Date.now() + ms });
  }
  return cached.get(path).found;
}

/** Return the models, as /v1/models lists them. */
export async function models() {
  const { models: found } = await once("v1/models", MODELS_MS);
  if (!found.length) cached.delete("v1/models"); // workers may still be starting
  return found;
}

/** Return the samplers, as /v1/samplers lists them. */
export const samplers = async () => (await once("v1/samplers")).samplers;

addEventListener("keychanged", () => cached.clear());
