// The views: name in the address → its module, which is loaded when it is first shown. Each has its
// style in style/NAME.css, and its name in the navigation in `nav.NAME` of words.js.

export const VIEWS = {
  draw: () => import("./views/draw/draw.js"),
  gallery: () => import("./views/gallery/gallery.js"),
  grid: () => import("./views/grid/grid.js"),
  batch: () => import("./views/batch/batch.js"),
  see: () => import("./views/see/see.js"),
};
