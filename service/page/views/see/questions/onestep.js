// Why not one step?

import { t } from "../../../lib/words.js";

export const words = {
  en: {
    "onestep.text": "Under pure noise, the answer with the least error is the mean of all pictures that the prompt could mean. If it names one, that is nearly the picture, and one step will do. If it names many, it is a blur: steps are how the model makes up its mind.",
    "onestep.notice": "In one step “vehicle” is a blur of several; in twenty, each seed has a vehicle of its own. Measured: a network trained for one step alone gets {label} of labels right, trained for diffusion {labels}; of prompts of three tags {tag} and {tags}. But its seeds differ by {spread} levels of 255, not by {spreads}.",
  },
  zh: {
    "onestep.text": "面对纯噪声，误差最小的回答是提示词可能指的所有图像的平均。如果只指一张，平均几乎就是它，一步就够；如果指很多张，平均就是一团模糊：多走几步，模型才拿得定主意。",
    "onestep.notice": "只走一步，“车辆”是几种车混成的一团模糊；走二十步，每个种子各有各的车。实测：专为一步训练的网络，按标签画对 {label}，按扩散训练的 {labels}；按三个标记，{tag} 和 {tags}。但它的种子之间只差 {spread} 级（满值 255），而不是 {spreads} 级。",
  },
};

/** Of docs/one-step.md: trained for one step, and for diffusion, with 15. */
export const values = {
  label: "100 %", labels: "96.6 %", tag: "73.5 %", tags: "65.3 %", spread: 0.3, spreads: 12.8,
};

/** Return the groups of pictures. */
export const groups = () => [1, 20].map((steps) => ({
  title: t(steps === 1 ? "see.single" : "see.count", { n: steps }),
  cells: [0, 1, 2].map((seedBy) => ({
    label: t("see.by", { n: seedBy }),
    request: { seedBy, sampler: "ddim", num_inference_steps: steps, guidance_scale: 1 },
  })),
}));
