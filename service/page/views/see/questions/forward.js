// What does noise do to a picture?

import { el, svg } from "../../../lib/el.js";
import { said, t } from "../../../lib/words.js";
import { form, kept } from "../parts/form.js";
import { gaussian, noised } from "../parts/noise.js";
import { SIDE, canvas, heart, read } from "../parts/picture.js";
import { TIMESTEPS, alphasCumprod, decibels } from "../parts/schedule.js";
import { slider } from "../parts/slider.js";

export const words = {
  en: {
    "forward.text": "In training, pictures are mixed with noise in one go: √ᾱ of the picture x₀ and √(1 − ᾱ) of Gaussian noise ε. Over 1000 timesteps ᾱ falls from 1 to almost 0. The network is given the mixture, t and the prompt, and learns to say what is under the noise.",
    "forward.notice": "Fine detail drowns first, the coarse shape last. Drawing goes the other way, and decides the shape first. (The schedule is the included model's. It adds noise to 8×8×48 latents, this page to pixels, so that you can see it.)",
    "forward.t": "Timestep t",
    "forward.value": "{t}: ᾱ = {alpha}, signal to noise {db} dB",
    "forward.file": "Choose a picture",
    "forward.broken": "This file is no picture.",
    "forward.renew": "New noise",
  },
  zh: {
    "forward.text": "训练时，图像与噪声一次混合而成：√ᾱ 份图像 x₀，√(1 − ᾱ) 份高斯噪声 ε。在 1000 个时间步上，ᾱ 从 1 降到接近 0。网络拿到混合物、t 和提示词，学着说出噪声底下是什么。",
    "forward.notice": "最先淹没的是细节，最后才是大致的形状。绘制的方向相反，最先确定形状。（这是自带模型的噪声表。它把噪声加在 8×8×48 的潜变量上；这里加在像素上，好让你看见。）",
    "forward.t": "时间步 t",
    "forward.value": "{t}：ᾱ = {alpha}，信噪比 {db} dB",
    "forward.file": "选一张图片",
    "forward.broken": "这个文件不是图片。",
    "forward.renew": "换一份噪声",
  },
};

/** Fill `root`; return a function that takes everything down. */
export function show(root, model) {
  const alphas = alphasCumprod();
  const own = kept("forward");
  const { node: screen, context } = canvas({ role: "img" });
  const formula = el("p", { class: "see-formula" });
  const line = svg("line", { y1: 0, y2: 100 });
  const wrong = el("p", { class: "error", role: "alert" });
  let seed = 1;
  let noise = gaussian(3 * SIDE * SIDE, seed);
  own.picture ??= heart();

  function inWords(step) {
    const db = decibels(alphas[step]).toFixed(1).replace("Infinity", "∞").replace("-", "−");
    return t("forward.value", { t: step, alpha: alphas[step].toFixed(4), db });
  }
  const time = slider({
    label: t("forward.t"), min: 0, max: TIMESTEPS, value: own.step ?? 300, frameMs: 40, by: 10,
    text: inWords, onInput: paint,
  });
  function paint(step) {
    const alpha = alphas[step];
    own.step = step;
    context.putImageData(noised(own.picture, noise, alpha), 0, 0);
    screen.setAttribute("aria-label", inWords(step));
    formula.textContent =
      `x = ${Math.sqrt(alpha).toFixed(3)} · x₀ + ${Math.sqrt(1 - alpha).toFixed(3)} · ε`;
    line.setAttribute("x1", step);
    line.setAttribute("x2", step);
  }
  async function take(file) {
    if (!file) return;
    try {
      own.picture = await read(file);
      wrong.textContent = "";
      paint(time.value);
    } catch {
      wrong.textContent = t("forward.broken");
    }
  }
  const file = el("input", { type: "file", accept: "image/*", class: "hidden-label",
    on: { change: () => take(file.files[0]) } });
  const drawing = form({
    name: "forward", model, first: 2,
    plan: (prompt, chosen) => [{ prompt, seed: chosen }],
    begin: () => {},
    onChange(_, entry, whole) {
      if (whole) take(entry.images[0]?.blob);
      wrong.textContent = entry.error ? said(entry.error) : "";
    },
  });
  root.append(
    el("div", { class: "see-large see-forward card", on: {
      dragover: (event) => event.preventDefault(),
      drop(event) {
        event.preventDefault();
        take(event.dataTransfer.files[0]);
      },
    } }, screen, el("div", { class: "stack" }, formula, curves(alphas, line), time.node,
      el("div", { class: "row" },
        el("label", { class: "button see-file" }, t("forward.file"), file),
        el("button", { type: "button", text: t("forward.renew"), on: { click() {
          noise = gaussian(3 * SIDE * SIDE, ++seed);
          paint(time.value);
        } } })),
      wrong)),
    drawing.node);
  return () => {
    time.stop();
    drawing.stop();
  };
}

function curves(alphas, line) {
  const path = (of) => svg("path", {
    d: `M${alphas.map((alpha, step) => `${step} ${100 * (1 - Math.sqrt(of(alpha)))}`).join("L")}`,
  });
  return el("figure", { class: "see-curves" },
    svg("svg", { viewBox: `0 0 ${TIMESTEPS} 100`, preserveAspectRatio: "none", "aria-hidden": "true" },
      path((alpha) => alpha), path((alpha) => 1 - alpha), line),
    el("figcaption", { class: "hint" },
      el("span", { text: "√ᾱ" }), el("span", { text: "√(1 − ᾱ)" })));
}
