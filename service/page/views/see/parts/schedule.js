// The noise schedule that the included model was trained on.

/** How many timesteps there are. */
export const TIMESTEPS = 1000;

/** Return ᾱ_t for t = 0 … TIMESTEPS: 1, the picture itself, then one for each timestep.
 *  β is spaced evenly in its square root ("scaled_linear"), from 0.00085 to 0.012. */
export function alphasCumprod() {
  const [first, last] = [Math.sqrt(0.00085), Math.sqrt(0.012)];
  const alphas = [1];
  for (let t = 0; t < TIMESTEPS; t++) {
    const beta = (first + ((last - first) * t) / (TIMESTEPS - 1)) ** 2;
    alphas.push(alphas[t] * (1 - beta));
  }
  return alphas;
}

/** Return the signal-to-noise ratio ᾱ / (1 − ᾱ) in decibels; Infinity without noise. */
export function decibels(alpha) {
  return 10 * Math.log10(alpha / (1 - alpha));
}
