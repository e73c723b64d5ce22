"""Images of emoji, drawn by a colour bitmap font such as Noto Color Emoji."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from model_export.errors import DataError

NOTO = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
STRIKE = 109  # the only size at which FreeType opens its bitmaps
WIDTH, HEIGHT = 136, 128  # of one glyph there


class EmojiFont:
    """A font that draws an emoji as one glyph or not at all."""

    def __init__(self, path: Path = NOTO) -> None:
        if not features.check("raqm"):
            raise DataError("Pillow lacks the RAQM layout engine, which joined emoji need")
        try:
            raqm = ImageFont.Layout.RAQM
            self._font = ImageFont.truetype(str(path), STRIKE, layout_engine=raqm)
        except OSError as error:
            raise DataError(f"{path}: not a colour font of size {STRIKE} ({error})") from error

    def draw(self, text: str, side: int) -> NDArray[np.uint8] | None:
        """Return the image (side, side, 3) on white, or None if it is not a single glyph.

        A sequence that the font does not know is drawn as several glyphs side by side.
        """
        left, _, right, _ = self._font.getbbox(text)
        if abs(right - left - WIDTH) > 4:
            return None
        glyph = Image.new("RGBA", (WIDTH, HEIGHT), "white")
        ImageDraw.Draw(glyph).text((0, 0), text, font=self._font, embedded_color=True)
        drawn = glyph.convert("RGB")
        if np.asarray(drawn).min() == 255:
            return None
        square = Image.new("RGB", (WIDTH, WIDTH), "white")
        square.paste(drawn, (0, (WIDTH - HEIGHT) // 2))
        return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))
