// What does guidance do?

import { t } from "../../../lib/words.js";

export const words = {
  en: {
    "guidance.text": "Each step asks the network twice, with the prompt and without it, and guidance goes on along the difference: without + g · (with − without). A g of 1 is no guidance and half the work; the included model's default is 2.",
    "guidance.notice": "Guidance trades variety for the prompt. At 1 a seed may wander off or stay a haze; at 2 and 4 it makes up its mind; at 8 colours and edges break, for training had nothing like it.",
    "guidance.row": "Guidance {n}",
  },
  zh: {
    "guidance.text": "每一步询问网络两次，一次带提示词，一次不带；引导沿着两者之差继续往前：无 + g ·（有 − 无）。g = 1 即没有引导，工作量减半；自带模型默认为 2。",
    "guidance.notice": "引导用多样性换取对提示词的服从。g = 1 时，有的种子跑题，或停在一团雾里；2 和 4 时有了主意；到 8，颜色和边缘开始破碎，训练中没有过这样的图像。",
    "guidance.row": "引导 {n}",
  },
};

export const options = { seed: 1 };

/** Return the groups of pictures. */
export const groups = () => [1, 2, 4, 8].map((scale) => ({
  title: t("guidance.row", { n: scale }),
  cells: [0, 1, 2].map((seedBy) => ({
    label: t("see.by", { n: seedBy }),
    request: { guidance_scale: scale, seedBy, num_inference_steps: 20 },
  })),
}));
