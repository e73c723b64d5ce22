"""Prediction types, guidance and its rescaling, row by row, on a network that is a formula."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion.backbones.unet import UNet
from diffusion.denoiser import Guidance, Level, denoise
from diffusion.errors import DenoiseError
from diffusion.model import Conditioning
from diffusion.schedules.precondition import PredictionType, precondition

SHAPE = (4, 6, 6)
SIGMAS = [0.1, 1.0, 9.0]
TIMESTEPS = [20.0, 400.5, 950.0]


class Formula:
    """A "network" that knows the clean image: a ramp, steeper for a larger embedding."""

    name = "formula"

    def __init__(self, kind: PredictionType) -> None:
        self.kind = kind
        self.rows: list[int] = []
        self.added: Mapping[str, Tensor] | None = None

    def predict(
        self,
        sample: Tensor,
        timesteps: Tensor,
        embeddings: Tensor,
        added: Mapping[str, Tensor] | None,
    ) -> Tensor:
        self.rows.append(len(sample))
        self.added = added
        sigma = torch.tensor([SIGMAS[TIMESTEPS.index(float(t))] for t in timesteps])
        sigma = sigma.reshape(-1, 1, 1, 1)
        alpha = 1 / (1 + sigma**2).sqrt()  # sqrt(ᾱ)
        clean = self.clean(embeddings)
        noise = (sample - alpha * clean) / (1 - alpha**2).sqrt()
        match self.kind:
            case "epsilon":
                return noise
            case "v_prediction":
                return alpha * noise - (1 - alpha**2).sqrt() * clean
            case _:
                return clean

    @staticmethod
    def clean(embeddings: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, SHAPE[1] * SHAPE[2]).reshape(1, 1, *SHAPE[1:])
        return (embeddings.mean((1, 2)).reshape(-1, 1, 1, 1) * (1 + ramp)).repeat(1, SHAPE[0], 1, 1)


def prompt(value: float, pooled: float | None = None) -> Conditioning:
    return Conditioning(
        torch.full((3, 8), value), None if pooled is None else torch.full((5,), pooled)
    )


def guided(scale: float, rescale: float = 0.0) -> Guidance:
    return Guidance(prompt(0.8), prompt(0.2), (48, 40), scale, rescale)


def noisy() -> Tensor:
    return torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1)) * 3


def estimate(
    network: Formula, guidance: list[Guidance], latents: Tensor | None = None, **options: int
) -> Tensor:
    given = noisy() if latents is None else latents
    seam = precondition("vp", network.kind, np.array(SIGMAS))
    columns = np.stack([TIMESTEPS, seam.c_in, seam.c_skip, seam.c_out], 1)
    levels = [Level(*values) for values in columns[: len(given)]]
    return denoise(UNet(network), given, levels, guidance, **options)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_every_prediction_type_gives_the_clean_image(kind: PredictionType) -> None:
    network = Formula(kind)
    result = estimate(network, [guided(1.0)] * 3)
    wanted = Formula.clean(torch.full((3, 3, 8), 0.8))
    assert torch.allclose(result, wanted, atol=2e-4)
    assert network.rows == [3]  # scale 1 costs no second pass


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_guidance_goes_on_from_the_empty_prompt(kind: PredictionType) -> None:
    network = Formula(kind)
    result = estimate(network, [guided(3.0), guided(0.0), guided(1.0)])
    offsets = [0.2 + 3 * 0.6, 0.2, 0.8]
    for row, offset in zip(result, offsets, strict=True):
        assert torch.allclose(row, Formula.clean(torch.full((1, 3, 8), offset))[0], atol=1e-4)
    assert network.rows == [5]  # three rows, two of them guided


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("rescale", [0.3, 1.0])
def test_rescale_follows_its_paper(kind: PredictionType, rescale: float) -> None:
    """Lin et al. 2023, equations 15 and 16, on what the network returns, whatever that is."""
    network = Formula(kind)
    result = estimate(network, [guided(4.0, rescale)] * 3)
    for i, (row, x, sigma) in enumerate(zip(result, noisy(), SIGMAS, strict=True)):
        seam = precondition("vp", kind, np.array([sigma]))
        level = torch.tensor([TIMESTEPS[i]])
        positive, negative = (
            network.predict(x[None] * seam.c_in[0], level, torch.full((1, 3, 8), value), None)[0]
            for value in (0.8, 0.2)
        )
        mixed = negative + 4.0 * (positive - negative)
        rescaled = mixed * positive.std() / mixed.std()
        output = rescale * rescaled + (1 - rescale) * mixed
        assert torch.allclose(row, seam.c_skip[0] * x + seam.c_out[0] * output, atol=3e-4)


def test_rescale_of_one_row_leaves_its_neighbours_alone() -> None:
    plain = estimate(Formula("epsilon"), [guided(4.0)] * 3)
    mixed = estimate(Formula("epsilon"), [guided(4.0, 0.7), guided(4.0), guided(4.0)])
    assert torch.equal(mixed[1:], plain[1:])
    assert not torch.allclose(mixed[0], plain[0], atol=1e-3)


def test_padding_fills_a_fixed_batch_and_changes_nothing() -> None:
    network = Formula("epsilon")
    rows = [guided(3.0), guided(5.0, 0.5), guided(1.0)]
    padded = estimate(network, rows, pad_to=8)
    assert network.rows == [8]
    assert torch.equal(padded, estimate(Formula("epsilon"), rows))


def test_more_rows_than_the_fixed_batch_are_refused() -> None:
    with pytest.raises(DenoiseError, match="6 forward rows do not fit a batch of 5"):
        estimate(Formula("epsilon"), [guided(2.0)] * 3, pad_to=5)


def test_a_guided_row_after_one_that_is_not_is_refused() -> None:
    with pytest.raises(DenoiseError, match="guided rows come first"):
        estimate(Formula("epsilon"), [guided(2.0), guided(1.0), guided(2.0)])


def test_pooled_prompts_and_sizes_go_with_their_rows() -> None:
    network = Formula("epsilon")
    first = Guidance(prompt(0.1, 1.0), prompt(0.2, 2.0), (64, 32), 3.0)
    second = Guidance(prompt(0.3, 3.0), prompt(0.4, 4.0), (96, 128), 1.0)
    estimate(network, [first, second], noisy()[:2])
    assert network.added is not None
    assert network.added["text_embeds"][:, 0].tolist() == [1.0, 3.0, 2.0]
    assert network.added["time_ids"].tolist() == [
        [32, 64, 0, 0, 32, 64],
        [128, 96, 0, 0, 128, 96],
        [32, 64, 0, 0, 32, 64],
    ]


def test_row_of_noise_alone_stays_finite() -> None:
    result = estimate(Formula("epsilon"), [guided(7.5, 1.0)] * 3, torch.zeros(3, *SHAPE))
    assert torch.isfinite(result).all()
