// Pictures of 64×64 pixels, as the included model draws them.

import { el } from "../../../lib/el.js";

/** The side of a picture, in pixels. */
export const SIDE = 64;

/** Return {node, context} of a canvas that shows a picture's pixels; it is white at first. */
export function canvas(props = {}) {
  const node = el("canvas", { class: "pixels", width: SIDE, height: SIDE, ...props });
  const context = node.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SIDE, SIDE);
  return { node, context };
}

/** Return the middle square of a file, scaled to SIDE, as ImageData. Throws: it is no picture. */
export async function read(blob) {
  const bitmap = await createImageBitmap(blob);
  const side = Math.min(bitmap.width, bitmap.height);
  const { context } = canvas();
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side,
    0, 0, SIDE, SIDE);
  return context.getImageData(0, 0, SIDE, SIDE);
}

/** Return a red heart, for a page on which nothing has been drawn yet. */
export function heart() {
  const { context } = canvas();
  const shine = context.createRadialGradient(23, 22, 2, 32, 32, 34);
  shine.addColorStop(0, "#ff8a80");
  shine.addColorStop(0.4, "#ef4136");
  shine.addColorStop(1, "#b3122b");
  context.fillStyle = shine;
  context.fill(new Path2D("M32 57C12 43 5 34 5 23C5 14 12 8 19 8C25 8 30 11 32 16"
    + "C34 11 39 8 45 8C52 8 59 14 59 23C59 34 52 43 32 57Z"));
  return context.getImageData(0, 0, SIDE, SIDE);
}
