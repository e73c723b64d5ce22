// Draws a history: time runs to the left, a lane is a slot, and the last pass stands at the right.

import { t } from "../../lib/words.js";
import { pieces, ribbonOf } from "./history.js";

export const PX_PER_S = 24;
const LANES = 6; // at least
const TOP = 22; // for captions
const AXIS = 20;
const CHART = 46; // the rows of each pass
const STRIDES = [1, 2, 5, 10, 20, 50, 100, 200, 500]; // steps between two notches

/** Return a function that draws (history, time, pictures by key, names) on a canvas. */
export function score(canvas) {
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  const css = (name) => style.getPropertyValue(`--${name}`);
  const grain = pen.createPattern(noise(), "repeat");
  let lanes = LANES;
  let past, now, pictures, names;
  let width, height, ratio, wide, foot, lane, edge; // edge: where now is

  const x = (time) => Math.round((edge - (now - time) * PX_PER_S) * ratio) / ratio;
  const y = (slot) => TOP + (slot + 0.5) * lane;
  const tint = (hue, alpha = 1) => `oklch(${css("tone")} ${hue} / ${alpha})`;
  const box = (colour, ...at) => Object.assign(pen, { fillStyle: colour }).fillRect(...at);
  const write = (colour, align, text, ...at) =>
    Object.assign(pen, { fillStyle: colour, textAlign: align }).fillText(text, ...at);
  const shape = (colour, form, ...at) => {
    pen.fillStyle = pen.strokeStyle = colour;
    pen.beginPath();
    pen[form](...at);
    pen.fill();
  };
  const curve = (colour, left, from, right, to) => {
    const middle = (left + right) / 2;
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.moveTo(left, from);
    pen.bezierCurveTo(middle, from, middle, to, right, to);
    pen.stroke();
  };

  return (...given) => {
    [past, now, pictures, names] = given;
    ({ clientWidth: width, clientHeight: height } = canvas);
    ratio = Math.min(2, devicePixelRatio);
    const [w, h] = [width, height].map((each) => Math.round(each * ratio));
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    wide = width > 600;
    foot = height - CHART - AXIS;
    lane = Math.min(wide ? 54 : 40, (foot - TOP) / lanes);
    edge = width - (wide ? 264 : 84);
    const seen = past.ribbons.filter((each) => each.begin < now && x(each.end ?? now) > -lane);
    const wanted = Math.max(LANES, ...seen.map((each) => each.slot + 1));
    lanes += Math.abs(wanted - lanes) < 0.1 ? wanted - lanes : (wanted - lanes) / 4;
    drawTimes();
    seen.forEach(drawRibbon);
    const gone = (each) => each.end <= now;
    for (const each of seen.filter(gone)) drawEnd(each, true);
    drawPass();
    for (const each of seen) if (!gone(each)) drawEnd(each, false);
  };

  /** Draw the times and, below the lanes, the rows of each pass. */
  function drawTimes() {
    for (let s = Math.floor(now / 5) * 5; x(s) > 0; s -= 5) {
      box(css("line"), x(s), TOP, 1, height - TOP - AXIS);
      if (x(s) > 24 && x(s) < edge - 26 && (wide || s % 10 === 0)) {
        write(css("muted"), "center", names.clock(s * 1000), x(s), height - 5);
      }
    }
    const most = past.frames.at(-1).rows_per_tick;
    const [low, high] = [height - AXIS, foot + 14];
    pen.globalAlpha = 0.25;
    past.frames.forEach(({ t: time, rows }, i) => {
      const left = x(past.frames[i - 1]?.t ?? time);
      const tall = (low - high) * Math.min(1, rows / most);
      if (time <= now) box(css("accent"), left, low - tall, x(time) - left, tall);
    });
    pen.globalAlpha = 1;
    for (const at of [low, high]) box(css("line"), 0, at, edge, 1);
    write(css("muted"), "left", t("batch.most", { n: most }), 2, high - 4);
  }

  function drawRibbon(ribbon) {
    const found = pieces(ribbon, now);
    const [first, last] = [found[0]?.from.step, found.at(-1)?.to];
    const [left, right] = [x(ribbon.begin), x(last?.t ?? 0)];
    const [middle, high] = [y(ribbon.slot), Math.max(2, lane * 0.6)];
    ribbon.step = last?.step;
    if (ribbon.before) {
      pen.setLineDash([3, 3]);
      curve(tint(ribbon.hue), x(ribbon.before.end), y(ribbon.before.slot), left, middle);
      pen.setLineDash([]);
    }
    if (!last || right <= left) return;
    const shade = pen.createLinearGradient(left, 0, right, 0);
    const clear = (at, step) => { // as opaque as the noise is gone
      const share = ribbon.steps ? step / ribbon.steps : at;
      shade.addColorStop(at, tint(ribbon.hue, 0.12 + 0.88 * share ** 0.7));
    };
    clear(0, first);
    pen.beginPath();
    for (const { from, to, moved } of found) {
      const [a, b, thick] = [x(from.t), x(to.t), moved ? high : Math.max(1, high / 7)];
      pen.rect(a, middle - thick / 2, b - a, thick);
      clear(Math.min(1, (b - left) / (right - left)), to.step);
    }
    pen.save();
    pen.translate(left, middle);
    pen.fillStyle = grain;
    pen.fill();
    pen.restore();
    pen.fillStyle = shade;
    pen.fill();
    const stride = STRIDES.find((each) => each * (right - left) >= 7 * (last.step - first));
    if (!stride || high < 6) return;
    for (const { from, to } of found) {
      for (let step = (Math.floor(from.step / stride) + 1) * stride; step <= to.step; step += stride) {
        const share = (step - from.step) / (to.step - from.step);
        box(css("paper"), x(from.t + share * (to.t - from.t)), middle - high / 2, 1, high / 4);
      }
    }
  }

  /** Draw the picture that a ribbon has become so far, if it is ours, or how it left. */
  function drawEnd({ key, hue, slot, step, end, left }, gone) {
    const [at, middle, side] = [x(gone ? end : now), y(slot), Math.round(lane * 0.82)];
    const picture = pictures.get(key);
    const whole = !gone || left === "finished";
    if (picture && whole && side > 13 && step !== 0) {
      const corner = [at, middle].map((each) => Math.round(each - side / 2));
      shape(tint(hue), "roundRect", ...corner.map((each) => each - 2), side + 4, side + 4, 5);
      pen.drawImage(picture, ...corner, side, side);
    } else if (whole) {
      shape(tint(hue), "arc", at, middle, Math.max(2, lane / 6), 0, 7);
    } else write(css("ink"), "left", { preempted: "‖", failed: "×" }[left] ?? "○", at + 3, middle + 4);
  }

  /** Draw now: who holds a slot, and the rows of the last pass. */
  function drawPass() {
    box(css("accent"), edge, TOP - 6, 1.5, height - TOP - AXIS + 6);
    write(css("accent"), "center", t("batch.now"), edge, TOP - 10);
    const frame = past.frames.findLast((each) => each.t <= now);
    if (!frame) return;
    const most = frame.rows_per_tick;
    const high = Math.min(lane, (foot - TOP) / most);
    const gap = high > 8 ? 3 : high > 3 ? 1 : 0;
    const labelled = wide && lane > 11;
    const threads = labelled ? width - 108 : edge + lane / 2 + 2;
    const cells = width - (wide ? 46 : 26);
    const cell = (row) => [cells, TOP + row * high + gap / 2, width - cells - 1, high - gap, 4];
    const count = `${frame.rows}/${most}`;
    write(css("muted"), "right", wide ? t("batch.last", { n: count }) : count, width, TOP - 10);
    pen.lineWidth = Math.max(1, Math.min(3, high / 5));
    let row = 0;
    for (const image of frame.images) {
      const { hue } = ribbonOf(past, image) ?? {};
      const [start, level] = [edge + lane * 0.41 + 10, y(image.slot)];
      if (labelled) {
        const label = `${names.title(image.sampler)} ${image.step}/${image.steps}`;
        write(css(image.in_pass ? "ink" : "muted"), "left", label, start, level + 4, threads - start - 4);
      }
      for (let n = 0; image.in_pass && n < image.rows; n++, row++) {
        const at = cell(row);
        shape(tint(hue, n ? 0.55 : 1), "roundRect", ...at);
        curve(tint(hue, n ? 0.55 : 1), threads, level, cells, at[1] + at[3] / 2);
      }
    }
    pen.lineWidth = 1;
    pen.strokeStyle = css("line");
    pen.beginPath();
    for (; gap && row < most; row++) pen.roundRect(...cell(row));
    pen.stroke();
  }
}

/** Return what an image is before the network has seen it. */
function noise() {
  const tile = new OffscreenCanvas(128, 64);
  const pen = tile.getContext("2d");
  const dots = pen.createImageData(128, 64);
  for (let i = 0; i < dots.data.length; i += 4) {
    dots.data.fill(Math.random() * 256, i, i + 3);
    dots.data[i + 3] = Math.random() * 150;
  }
  pen.putImageData(dots, 0, 0);
  return tile;
}
