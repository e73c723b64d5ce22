"""A caption that names a colour is trained towards the image turned to it."""

import numpy as np
import torch

from model_export.data.captions import Caption
from model_export.data.hues import dominant_colour
from model_export.data.subjects import subjects
from model_export.training.targets import Targets
from model_export.training.train import new_parts
from tests.model_export.examples import NETWORK, SETTINGS, toy_dataset

WHALE = 3


def test_latents_are_of_the_image_in_the_colour_named() -> None:
    dataset = toy_dataset()
    found = subjects(dataset)
    _, codec = new_parts(dataset, SETTINGS)
    targets = Targets(dataset, found, codec, torch.device("cpu"))
    colours = list(found[WHALE].trained)
    assert "blue" in colours
    captions = [Caption("whale"), *(Caption(f"{colour} whale", colour) for colour in colours)]
    latents = targets.of([WHALE] * len(captions), captions)
    assert latents.shape == (len(captions), *targets.shape)
    assert targets.shape == (NETWORK.latent_channels, NETWORK.sample_size, NETWORK.sample_size)
    decoded = codec.decode(latents)
    images = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
    assert [dominant_colour(np.asarray(image)) for image in images] == ["blue", *colours]


def test_latents_without_colours_are_those_of_the_images() -> None:
    dataset = toy_dataset().subset([0, 1])
    _, codec = new_parts(toy_dataset(), SETTINGS)
    targets = Targets(dataset, subjects(dataset), codec, torch.device("cpu"))
    latents = targets.of([1, 0, 1], [Caption("a"), Caption("b"), Caption("")])
    assert torch.equal(latents[0], latents[2])
    assert not torch.equal(latents[0], latents[1])
