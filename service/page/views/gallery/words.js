// Texts of the gallery.

export const words = {
  en: { "gallery.title": "Gallery", "gallery.empty": "Nothing has been drawn in this browser yet." },
  zh: { "gallery.title": "图库", "gallery.empty": "此浏览器还没有绘制过图片。" },
};
