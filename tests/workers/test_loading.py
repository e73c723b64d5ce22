"""A worker's model is loaded as its settings say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion.parts.preview import LatentColours, TinyDecoder
from tests.bundles import tiny_bundle
from tests.diffusion.parts.test_preview import smooth, tiny_decoder
from tests.layouts.unet_family import sd15
from workers.loading import load
from workers.settings import WorkerSettings


def plain(folder: Path) -> Path:
    """Write a model whose decoder takes long."""
    return sd15(folder)


def distilled(folder: Path) -> Path:
    """Write one with a distilled decoder besides."""
    return tiny_decoder(sd15(folder))


Write = Callable[[Path], Path]
SHOWN: dict[tuple[str, Write], type | None] = {
    ("auto", plain): LatentColours, ("auto", distilled): TinyDecoder, ("auto", tiny_bundle): None,
    ("full", plain): None, ("full", distilled): None, ("full", tiny_bundle): None,
}  # fmt: skip
"""Setting and model → what decodes its previews; None: the model's own decoder."""


@pytest.mark.parametrize(
    ("setting", "write"), SHOWN, ids=[f"{setting}-{write.__name__}" for setting, write in SHOWN]
)
def test_previews_are_decoded_as_the_setting_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, write: Write
) -> None:
    monkeypatch.setenv("SFUMATO_PREVIEW_DECODER", setting)
    bundle = load(WorkerSettings(model=write(tmp_path / "model"), device="cpu"))
    kind = SHOWN[setting, write]
    assert isinstance(bundle.previews, kind or type(bundle.decoder))
    assert (bundle.previews is bundle.decoder) == (kind is None)
    latents = smooth(bundle, 2)
    sides = latents.shape[-2:] if kind is LatentColours else (bundle.info.height, bundle.info.width)
    assert bundle.previews.decode(latents).shape == (2, 3, *sides)


def test_previews_are_cheap_unless_a_setting_says_otherwise(tmp_path: Path) -> None:
    bundle = load(WorkerSettings(model=plain(tmp_path / "model"), device="cpu"))
    assert isinstance(bundle.previews, LatentColours)


def test_a_preview_decoder_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_PREVIEW_DECODER", "linear")
    with pytest.raises(ValueError, match="preview_decoder"):
        WorkerSettings()
