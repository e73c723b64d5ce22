"""A folder of coloured shapes with captions, as a user would provide it."""

from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = ("red", "green", "blue", "orange", "purple", "black")
SHAPES = ("circle", "square", "triangle", "ring")


def draw_shape(colour: str, shape: str) -> Image.Image:
    """Return a shape in the middle of a wide image."""
    image = Image.new("RGB", (160, 120), "white")
    pen, box = ImageDraw.Draw(image), (40, 20, 120, 100)
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    elif shape == "triangle":
        pen.polygon([(80, 20), (120, 100), (40, 100)], fill=colour)
    else:
        pen.ellipse(box, outline=colour, width=16)
    return image


def draw_folder(folder: Path) -> Path:
    """Draw 24 shapes, each with two captions beside it, and return their folder."""
    folder.mkdir(parents=True)
    for colour in COLOURS:
        for shape in SHAPES:
            path = folder / f"{colour}-{shape}.png"
            draw_shape(colour, shape).save(path)
            path.with_suffix(".txt").write_text(f"a {colour} {shape}\n\n{shape} in  {colour}\n")
    return folder
