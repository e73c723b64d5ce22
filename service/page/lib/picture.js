// Pictures: small ones are scaled up in whole multiples, pixel by pixel.

import { el } from "./el.js";

const SMALL = 128; // pixels of the longer side up to which a picture is scaled up

/** Size an image of width × height pixels for a box of so many CSS pixels. */
export function fit(image, width, height, box = 256) {
  const longer = Math.max(width, height);
  const small = longer <= SMALL;
  const scale = small ? Math.max(1, Math.floor(box / longer)) : Math.min(1, box / longer);
  image.classList.toggle("pixels", small);
  image.width = Math.round(width * scale);
  image.height = Math.round(height * scale);
  return image;
}

/** Return an image element of a picture of width × height pixels for a box of CSS pixels. */
export const picture = (src, alt, width, height, box) =>
  fit(el("img", { src, alt, draggable: "false" }), width, height, box);

/** Return {url(blob), free()}: addresses of blobs, which last until they are freed together. */
export function addresses() {
  const made = new Map();
  return {
    url(blob) {
      if (!made.has(blob)) made.set(blob, URL.createObjectURL(blob));
      return made.get(blob);
    },
    free() {
      for (const url of made.values()) URL.revokeObjectURL(url);
      made.clear();
    },
  };
}
