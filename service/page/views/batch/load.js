// A mixed load: small jobs that differ in everything that a batch allows.

const LASTS_S = 15; // of one worker's work
const RATE = 200; // rows per second, where none is announced
const [LEAST, MOST] = [6, 300]; // steps
const MIXED = [
  ["ddpm", 12, 1], ["euler", 5, 3], ["ddim", 8, 1], ["dpmpp_2m", 3, 1], ["heun", 2, 1],
  ["euler_ancestral", 3, 2], ["lms", 9, 1], ["unipc", 2, 1], ["dpmpp_3m_sde", 6, 1],
  ["plms", 2, 3], ["deis", 4, 1], ["dpm2", 2, 1],
]; // sampler, share of the steps, guidance
const ROWS = 72; // of one share, with these samplers and this guidance

/** Return the requests of a load that keeps one worker of a model busy for a while. */
export function mixedLoad({ name, samplers, examples, prompt, units_per_s: rate }) {
  const unit = ((rate || RATE) * LASTS_S) / ROWS;
  return MIXED.flatMap(([sampler, share, guidance], i) => {
    const most = samplers.find((each) => each.name === sampler)?.max_steps;
    return most ? {
      model: name, prompt: examples[i % examples.length] ?? "", sampler,
      num_inference_steps: Math.round(Math.min(MOST, most, Math.max(LEAST, share * unit))),
      guidance_scale: prompt === "text" ? guidance : 1,
    } : [];
  });
}
