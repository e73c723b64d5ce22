// What does the network see, and what does it say?

import { el } from "../../../lib/el.js";
import { addresses } from "../../../lib/picture.js";
import { t } from "../../../lib/words.js";
import { draw } from "../parts/draw.js";
import { form, kept } from "../parts/form.js";
import { slider } from "../parts/slider.js";

export const words = {
  en: {
    "steps.text": "At each step the network is shown the noisy sample and says what the finished picture would be. The sampler takes only a little of this advice: it moves the sample some way towards the estimate, and asks again. Looks at one drawing, by DDIM without guidance:",
    "steps.notice": "“Vehicle” fits many pictures, so the first estimate is a blur, the mean of them all. As the noise clears, it settles on one. For “a tiger” the first estimate is nearly the picture.",
    "steps.slider": "Step",
    "steps.value": "{n} of {all}",
    "steps.sees": "What it sees",
    "steps.says": "What it says",
  },
  zh: {
    "steps.text": "每一步，网络看到带噪的样本，说出它认为成图的样子。采样器只采纳一点点：让样本朝这个估计挪一小段，再问一次。下面是同一次绘制（DDIM，不加引导）途中的几个瞬间：",
    "steps.notice": "“车辆”可以是很多张图，所以最初的估计是一团模糊，即它们的平均。噪声渐渐散去，估计落定在其中一张。换成“老虎”，第一次估计就几乎是成图。",
    "steps.slider": "步",
    "steps.value": "第 {n} 步，共 {all} 步",
    "steps.sees": "它看见的",
    "steps.says": "它说的",
  },
};

const KINDS = { sees: "sample", says: "estimate" };
const LOOKS = 8; // and one at the end
const BETWEEN = 5; // steps from one look to the next
const LONGER = 20;
const TRIES = 5;
const steps = (between) => (LOOKS + 2) * between;

/** Return {at, step, request} for each picture: a job's first preview comes at the step that it asks
 *  for, so that each picture has a job of its own. What comes too soon before a job's end is not
 *  sent; with more steps there is more time. */
function jobs(prompt, seed, between = BETWEEN) {
  return Array.from({ length: LOOKS }).flatMap((_, n) =>
    Object.entries(KINDS).map(([kind, of]) => {
      const step = kind === "sees" ? Math.max(1, n * between) : n * between + 1;
      return { at: kind + n, step, request: {
        prompt, seed, sampler: "ddim", num_inference_steps: steps(between), guidance_scale: 1,
        preview: { of, every: step },
      } };
    }));
}

const image = () => el("img", { class: "pixels", alt: "", hidden: true });

function put(node, src) {
  node.hidden = !src;
  if (src && node.src !== src) node.src = src;
}

/** Fill `root`; return a function that takes everything down. */
export function show(root, model) {
  const own = kept("steps");
  const urls = addresses();
  const kinds = Object.keys(KINDS);
  const large = kinds.map(image);
  const columns = Array.from({ length: LOOKS + 1 }, (_, n) =>
    el("div", { on: { click: () => control.go(n) } }, kinds.map(image)));
  let planned = [];
  let gone = false;

  const all = steps(BETWEEN);
  const inWords = (n) => t("steps.value", { n: n < LOOKS ? n * BETWEEN + 1 : all, all });
  const control = slider({ label: t("steps.slider"), min: 0, max: LOOKS, value: own.look ?? LOOKS,
    text: inWords, onInput: paint, frameMs: 450 });
  function src(kind, n) {
    const picture = own.pictures?.[n < LOOKS ? kind + n : "end"];
    return picture instanceof Blob ? urls.url(picture) : picture;
  }
  function paint(look) {
    own.look = look;
    kinds.forEach((kind, place) => {
      put(large[place], src(kind, look));
      large[place].alt = `${t(`steps.${kind}`)}, ${inWords(look)}`;
      columns.forEach((column, n) => {
        put(column.children[place], src(kind, n));
        column.classList.toggle("current", n === look);
      });
    });
  }
  function take({ at, step }, { previews: [preview] }) {
    if (preview?.step !== step || own.pictures[at]) return;
    own.pictures[at] = preview.src;
    paint(control.value);
  }
  const drawing = form({
    name: "steps",
    model,
    plan(prompt, seed) {
      planned = jobs(prompt, seed);
      return planned.map(({ request }) => request);
    },
    begin() {
      control.stop();
      paint(control.value);
    },
    onChange(index, entry) {
      take(planned[index], entry);
      own.pictures.end ??= entry.images[0]?.blob;
    },
    async onDone() {
      for (const job of jobs(own.prompt, own.seed, LONGER)) {
        for (let n = 0; n < TRIES && !own.pictures[job.at] && !gone; n++) {
          await draw([job.request], (_, entry) => take(job, entry)).done;
        }
      }
      paint(control.value);
      if (!matchMedia("(prefers-reduced-motion: reduce)").matches) control.play();
    },
  });
  root.append(drawing.node, el("div", { class: "see-large card" },
    el("div", { class: "see-pair" }, kinds.map((kind, place) => el("figure", {},
      el("div", { class: "frame" }, large[place]), el("figcaption", { text: t(`steps.${kind}`) })))),
    el("div", { class: "stack" }, control.node,
      el("div", { class: "see-strip", "aria-hidden": "true" }, columns))));
  paint(control.value);
  return () => {
    gone = true;
    control.stop();
    drawing.stop();
    urls.free();
  };
}
