"""Quality against steps is measured once, kept, and shown with what it was measured on."""

import json
from pathlib import Path

import pytest
from PIL import Image

from diffusion.bundle.bundle import load_bundle
from diffusion.samplers.registry import SAMPLERS
from model_export.errors import ExportError
from model_export.evaluation.gallery import make_gallery, save_gallery
from model_export.evaluation.quality import (
    Cell,
    QualitySettings,
    Subject,
    draw_cell,
    read_cells,
    spread,
    subject_of,
    write_cells,
)
from model_export.evaluation.quality_command import write_page
from model_export.evaluation.quality_plot import COLOURS, FAMILIES, family_of, write_plot
from tests.model_export.examples import invoke, toy_dataset

GALLERY = make_gallery(toy_dataset(), 6)
SUBJECT = Subject("ab" * 32, "cd" * 8, 1.5, 0)
CELLS = [
    Cell(sampler, steps, 8, 1 - 0.5 / steps, 20 - 9 / steps)
    for sampler in SAMPLERS
    for steps in (1, 4, 1000)
]


def measure(bundle: Path, out: Path) -> str:
    save_gallery(GALLERY, out / "gallery")
    few = ("--drawings", 2, "--drawings-long", 1, "--steps", 2)
    invoke("quality", bundle, "--out", out, "--gallery", out / "gallery", *few)
    return (out / "quality.md").read_text("utf-8")


def test_every_sampler_is_measured_once_and_kept(bundle: Path, tmp_path: Path) -> None:
    text = measure(bundle, tmp_path)
    for name in SAMPLERS:
        assert text.count(f"`{name}`") == 1
    for part in ("--drawings 2", "--steps 2", load_bundle(bundle).info.sha256[:16], "guidance 2,"):
        assert part in text, part
    with Image.open(tmp_path / "figures" / "quality.png") as image:
        assert image.width > 1000

    path = tmp_path / "figures" / "quality.json"
    figures = json.loads(path.read_text())
    assert len(figures["cells"]) == len(SAMPLERS)
    figures["cells"][0]["psnr_db"] = 77.7
    del figures["cells"][-3:]
    path.write_text(json.dumps(figures))
    assert "/77.7 |" in measure(bundle, tmp_path)
    assert len(json.loads(path.read_text())["cells"]) == len(SAMPLERS)


def test_what_a_sampler_refuses_is_shown_with_the_reason(bundle: Path, tmp_path: Path) -> None:
    loaded, settings = load_bundle(bundle), QualitySettings(1.0, (1, 1001), 2, 1)
    calls: list[int] = []
    cells = [draw_cell(loaded, GALLERY, settings, "heun", n, calls.append) for n in (1, 1001)]
    assert cells[0].reason is None
    assert cells[1] == Cell("heun", 1001, 1, None, None, cells[1].reason)
    assert calls == [1, 1]
    path = tmp_path / "page.md"
    write_page(path, loaded.info, settings, cells, command="c", codec_psnr_db=30)
    text = path.read_text("utf-8")
    assert "- `heun`, 1001 steps: sampler 'heun' takes 1 to 1000 steps, not 1001" in text
    assert f"| Heun `heun` | 2 | {cells[0].top1:.2f}/{cells[0].psnr_db:.1f} | – |" in text


def test_rows_count_both_passes_of_guidance() -> None:
    assert QualitySettings(2.0).rows("euler", 8) == 16
    assert QualitySettings(1.0).rows("heun", 8) == 15


def test_drawings_are_spread_evenly_and_fewer_are_among_more() -> None:
    assert spread(GALLERY, 3) == [0, 2, 4]
    assert set(spread(GALLERY, 2)) <= set(spread(GALLERY, 6))
    for count in (0, 7):
        with pytest.raises(ExportError, match=f"{count} drawings"):
            spread(GALLERY, count)


def test_figures_about_something_else_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "quality.json"
    assert read_cells(path, SUBJECT) == []
    write_cells(path, SUBJECT, CELLS)
    assert read_cells(path, SUBJECT) == CELLS
    assert read_cells(path, Subject("ef" * 32, SUBJECT.gallery, 1.5, 0)) == []
    assert [p.name for p in tmp_path.iterdir()] == ["quality.json"]
    path.write_text("{}")
    with pytest.raises(ExportError, match=r"quality\.json holds no usable figures"):
        read_cells(path, SUBJECT)


def test_each_family_has_lines_enough_to_distinguish() -> None:
    families = [family_of(info) for info in SAMPLERS.values()]
    assert set(families) == set(FAMILIES)
    assert max(families.count(family) for family in FAMILIES) <= len(COLOURS)


def test_figures_are_about_one_model_gallery_guidance_and_seed(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    ways = [
        (GALLERY, QualitySettings(2.0)),
        (make_gallery(toy_dataset(), 5), QualitySettings(2.0)),
        (GALLERY, QualitySettings(3.0)),
        (GALLERY, QualitySettings(2.0, seed=1)),
    ]
    assert len({subject_of(loaded, gallery, settings) for gallery, settings in ways}) == 4
    assert subject_of(loaded, *ways[0]) == subject_of(loaded, GALLERY, QualitySettings(2.0, (1,)))


def test_equal_figures_give_equal_plots(tmp_path: Path) -> None:
    cells = [Cell("heun", 4, 8, reason="no"), *(c for c in CELLS if c.sampler != "heun")]
    paths = [write_plot(tmp_path / name, cells, codec_psnr_db=30) for name in ("a.png", "b.png")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_page_says_where_fewer_drawings_were_measured(bundle: Path, tmp_path: Path) -> None:
    info = load_bundle(bundle).info
    for settings, fewer in ((QualitySettings(2.0), False), (QualitySettings(2.0, (4, 1000)), False),
                           (QualitySettings(2.0, drawings_long=2), True)):  # fmt: skip
        page = write_page(tmp_path / "page.md", info, settings, CELLS, command="c", codec_psnr_db=1)
        text = page.read_text("utf-8")
        assert ("2 from 1000 steps on" in text) == ("a hollow mark" in text) == fewer
