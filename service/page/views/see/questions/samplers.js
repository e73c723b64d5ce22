// One seed under every sampler.

import { t } from "../../../lib/words.js";

export const words = {
  en: {
    "samplers.text": "A sampler decides at which noise levels the network is asked, and how to step from its answers. Here every sampler starts from the same noise. They are drawn together, in the same forward passes.",
    "samplers.notice": "With 15 steps most draw the same picture; only those that add fresh noise wander off. With few steps they differ: Heun and DPM2 ask twice a step and overshoot, PLMS has no former steps to look back at.",
  },
  zh: {
    "samplers.text": "采样器决定在哪些噪声水平上询问网络，以及怎样根据回答前进。这里每个采样器都从同一份噪声出发，在同一批前向计算里一起画。",
    "samplers.notice": "15 步时，大多数画出同一张图，只有会加新噪声的才走向别处。步数少时差别很大：Heun 和 DPM2 每步问两次，容易冲过头；PLMS 还没有前几步可供参考。",
  },
};

export const options = { small: true };

/** Return the groups of pictures. */
export const groups = ({ samplers }) => samplers.map(({ name, title }) => ({
  title,
  cells: [2, 4, 15].map((steps) => ({
    label: t("see.count", { n: steps }),
    request: { sampler: name, num_inference_steps: steps },
  })),
}));
