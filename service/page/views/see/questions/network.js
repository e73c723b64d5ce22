// Is the UNet the only choice?

import { el } from "../../../lib/el.js";
import { t } from "../../../lib/words.js";
import { slider } from "../parts/slider.js";

export const words = {
  en: {
    "network.text": "No. Any network will do that takes the noisy latents, the noise level and the prompt, and says the way back to the picture. This service draws with UNets (its own model, Stable Diffusion 1.5 and XL) and transformers (PixArt, Stable Diffusion 3, FLUX.1, Z-Image). Batching, samplers, guidance, previews and checkpoints are the same for all.\nThe cost of size is not. A UNet is mostly convolutions, whose work grows with the pixels. A transformer cuts the latents into tokens of 2×2 and compares each with all others, which grows with the square.",
    "network.notice": "Twice the side is four times the tokens and sixteen times the pairs. All the same, most of the largest image models of today are transformers.",
    "network.side": "Side of the picture",
    "network.value": "{side} pixels, {tokens} tokens",
    "network.conv": "Convolutions: {n} × the work at 1024 pixels",
    "network.attention": "Comparisons: {n} ×",
  },
  zh: {
    "network.text": "不是。任何网络，只要接受带噪的潜变量、噪声水平和提示词，并说出怎样回到图像，都可以用。本服务既用 UNet（自带模型、Stable Diffusion 1.5 和 XL），也用 Transformer（PixArt、Stable Diffusion 3、FLUX.1、Z-Image）。批处理、采样器、引导、预览和检查点全都一样。\n不一样的是尺寸的代价。UNet 以卷积为主，工作量随像素数增长；Transformer 把潜变量切成 2×2 的词元，逐一与其他所有的比较，随词元数的平方增长。",
    "network.notice": "边长加倍，词元变成四倍，配对变成十六倍。尽管如此，如今最大的图像模型大多是 Transformer。",
    "network.side": "图像边长",
    "network.value": "{side} 像素，{tokens} 个词元",
    "network.conv": "卷积：1024 像素时的 {n} 倍",
    "network.attention": "比较：{n} 倍",
  },
};

export const draws = false;

const UNIT = 128; // pixels that the slider moves by
const TOKEN = 16; // pixels: 2 latents of 8
const COSTS = { conv: 2, attention: 4 }; // powers of the side

/** Fill `root`; return a function that takes everything down. */
export function show(root) {
  const bars = Object.entries(COSTS).map(([name, power]) =>
    ({ name, power, label: el("span"), bar: el("i") }));
  const size = slider({
    label: t("network.side"), min: 2, max: 16, value: 8,
    text: (units) => t("network.value",
      { side: UNIT * units, tokens: (UNIT * units / TOKEN) ** 2 }),
    onInput(units) {
      for (const { name, power, label, bar } of bars) {
        const times = (UNIT * units / 1024) ** power;
        label.textContent = t(`network.${name}`, { n: Number(times.toPrecision(2)) });
        bar.style.width = `${100 * times / 16}%`;
      }
    },
  });
  root.append(el("div", { class: "card stack" }, size.node,
    bars.map(({ label, bar }) => el("div", {}, label, el("div", { class: "bar" }, bar)))));
  return size.stop;
}
