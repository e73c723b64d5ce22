// Gaussian noise, and pictures mixed with it.

/** Return `count` samples of N(0, 1), always the same for one seed. */
export function gaussian(count, seed) {
  let state = seed >>> 0;
  const uniform = () => { // mulberry32, in (0, 1]
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return (((x ^ (x >>> 14)) >>> 0) + 1) / 2 ** 32;
  };
  return Float32Array.from({ length: count }, () =>
    Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}

/** Return x_t = √ᾱ·x_0 + √(1 − ᾱ)·ε as a picture; `noise` has three numbers a pixel. */
export function noised(picture, noise, alpha) {
  const [keep, add] = [Math.sqrt(alpha), Math.sqrt(1 - alpha)];
  const result = new ImageData(picture.width, picture.height);
  for (let pixel = 0; pixel < picture.width * picture.height; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      const x = picture.data[4 * pixel + channel] / 127.5 - 1; // in [−1, 1], as in training
      result.data[4 * pixel + channel] = 127.5 * (keep * x + add * noise[3 * pixel + channel] + 1);
    }
    result.data[4 * pixel + 3] = 255;
  }
  return result;
}
