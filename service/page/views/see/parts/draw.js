// Pictures that a question asks for: jobs of this browser that stay out of its gallery.

import { cancel, ended, on, submit } from "../../../jobs/jobs.js";

const AT_ONCE = 4; // requests; a browser opens six connections to a host

/** Draw a picture for each request. `onChange(index, entry, whole)` follows each job until it is
 *  `whole`: ended, with its image here. Return {done, stop}: `done` resolves once all are, or `stop`
 *  has canceled them. Throws, by `done`: Problem, if a request is refused. */
export function draw(requests, onChange) {
  const places = new Map(); // job → index of its request
  const stopping = new AbortController();
  const { signal } = stopping;
  const waiting = [...requests.keys()];
  let open = requests.length;
  let settle;
  const done = new Promise((resolve, reject) => (settle = { resolve, reject }));
  const off = on(look);

  function look(entry) {
    const index = places.get(entry?.id);
    if (index === undefined) return;
    const whole = ended(entry) && entry.images.every(({ blob, lost }) => blob || lost);
    onChange(index, entry, whole);
    if (!whole) return;
    places.delete(entry.id);
    if (--open === 0) settle.resolve();
  }
  async function submitAll() {
    while (waiting.length && !signal.aborted) {
      const index = waiting.shift();
      const entry = await submit(requests[index], { signal, origin: "see", fleeting: true });
      places.set(entry.id, index);
      look(entry);
    }
  }
  function stop() {
    stopping.abort();
    for (const id of places.keys()) cancel(id).catch(() => {}); // it has ended meanwhile
    settle.resolve();
  }
  for (let n = 0; n < AT_ONCE; n++) {
    submitAll().catch((problem) => {
      if (signal.aborted) return;
      settle.reject(problem);
      stop();
    });
  }
  return { done: done.finally(off), stop };
}

/** Return how many rows of forward passes a request takes. */
export function rows(request, model) {
  const { sampler, num_inference_steps: steps, guidance_scale: scale } = {
    sampler: model.default_sampler, num_inference_steps: model.default_steps,
    guidance_scale: model.default_guidance_scale, ...request,
  };
  const { rows_per_step: each, rows_offset: offset } =
    model.samplers.find(({ name }) => name === sampler);
  return (steps === 1 ? 1 : each * steps + offset) * (scale === 1 || model.embeds_guidance ? 1 : 2);
}
