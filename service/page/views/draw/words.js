// Texts of Draw.

export const words = {
  en: { "draw.title": "Draw", "draw.prompt": "Prompt", "draw.submit": "Draw" },
  zh: { "draw.title": "绘制", "draw.prompt": "提示词", "draw.submit": "绘制" },
};
