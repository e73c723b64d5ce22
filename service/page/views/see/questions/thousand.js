// 1000 steps against 20.

import { t } from "../../../lib/words.js";

export const words = {
  en: {
    "thousand.text": "DDPM was published with 1000 steps, as many as its training had. DDIM showed that the same network can be asked far less often. The long drawing here is fifty times the work of a short one. You may finish it early: it ends with its estimate.",
    "thousand.notice": "Measured on 40 labels: DDIM with 15 steps got {short} right ({shortDb} dB), DDPM with 50 got {long} ({longDb} dB). A thousand steps are 67 times the work of 15.",
  },
  zh: {
    "thousand.text": "DDPM 发表时用 1000 步，与训练的步数相同。DDIM 表明，同一个网络不必问这么多次。这里长的那张，工作量是短的五十倍；可以提前结束，以当时的估计为结果。",
    "thousand.notice": "实测 40 个标签：15 步的 DDIM 画对 {short} 个（{shortDb} dB），50 步的 DDPM 画对 {long} 个（{longDb} dB）。1000 步的工作量是 15 步的 67 倍。",
  },
};

/** Of docs/figures/quality.json. */
export const values = { long: 39, longDb: "27.2", short: 37, shortDb: "26.3" };

export const options = { first: 1 };

/** Return the groups of pictures. */
export const groups = () => Object.entries({ 1000: ["ddpm"], 20: ["ddpm", "ddim"] }).map(
  ([steps, samplers]) => ({
    title: t("see.count", { n: steps }),
    cells: samplers.map((sampler) => ({
      label: sampler.toUpperCase(), timed: true,
      request: { sampler, num_inference_steps: Number(steps) },
    })),
  })).reverse();
