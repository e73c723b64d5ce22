"""What an addition changes: another VAE, LoRAs, and what the network predicts."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file

from diffusion.files import digest
from tests.diffusion.checkpoints import models, original
from tests.diffusion.lora import loras
from tests.layouts.unet_family import sd15
from tests.workers.models.conftest import Command

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def test_another_vae_takes_its_place(command: Command, mine: Path, tiny: Path) -> None:
    shutil.rmtree(mine / "vae")
    refusal = command("add", mine, "--name", "blind").refusal
    assert "lacks vae" in refusal
    assert "--vae" in refusal
    for given in (tiny, tiny / "vae"):
        said = command("add", mine, "--name", "seeing", "--vae", given, "--replace")
        assert said.code == 0, said.err
        assert f"vae         {given}" in said.out
    assert (
        "holds no VAE" in command("add", mine, "--name", "b", "--vae", tiny / "unet" / "..").err
        or command("add", mine, "--name", "c", "--vae", tiny / "tokenizer").refusal
    )
    assert "is not there" in command("add", mine, "--name", "b", "--vae", "nowhere").refusal


def test_loras_are_fused_and_recorded(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sd15(tmp_path / "base")
    unet = UNet2DConditionModel.from_pretrained(source / "unet")
    pairs = loras.random_pairs(unet, 1)
    style = loras.write(tmp_path / "style.safetensors", loras.kohya("unet", pairs))
    said = command("add", source, "--lora", f"{style}:0.5", "--name", "styled")
    assert said.code == 0, said.err
    layers = f"style.safetensors:0.5 in {len(pairs)} layers of unet"
    assert f"{layers} (sha256 {sha256(style.read_bytes()).hexdigest()})" in said.out
    fused = load_file(command.models / "styled" / WEIGHTS)
    name, pair = next(iter(pairs.items()))
    own = unet.state_dict()[f"{name}.weight"]
    assert (fused[f"{name}.weight"] - own - 0.5 * pair.change(own)).abs().max() < 1e-6
    assert digest(command.models / "styled") != digest(source)
    assert load_file(source / WEIGHTS)[f"{name}.weight"].equal(own), "the source has changed"
    assert command("check", "styled", "--files-only").code == 0
    for given, reason in (
        (f"{style}:strong", "is not FILE:WEIGHT"), (f"{style}:nan", "is not FILE:WEIGHT"),
        (":1", "is not FILE:WEIGHT"),
    ):  # fmt: skip
        refused = command("add", source, "--lora", given, "--name", "other")
        assert refused.code == 2
        assert reason in refused.err
    assert "is missing" in command("add", source, "--lora", "none.safetensors:1").refusal
    dora = loras.write(tmp_path / "d.safetensors", {"lora_unet_x.dora_scale": torch.ones(1)})
    assert "d.safetensors is DoRA" in command("add", source, "--lora", dora).refusal
    wrong = {"unet.x.lora_A.weight": torch.ones(2, 4), "unet.x.lora_B.weight": torch.ones(4, 2)}
    other = loras.write(tmp_path / "o.safetensors", wrong)
    refusal = command("add", source, "--lora", other, "--name", "other").refusal
    assert "o.safetensors is not for this unet" in refusal
    assert command.names() == ["styled"]


def test_a_vae_of_a_file_is_converted(command: Command, tmp_path: Path) -> None:
    file = models.write_file(tmp_path / "whole.safetensors", models.SD1)
    assert command("add", file, "--name", "whole", "--no-check").code == 0
    vae = models.tiny(models.SD1).vae
    other = {n: t * 1.01 for n, t in original.vae(vae, "").items()}
    given = original.write(tmp_path / "vae.safetensors", other)
    for name, source in (("folder", command.models / "whole"), ("file", file)):
        said = command("add", source, "--name", name, "--vae", given, "--no-check")
        assert said.code == 0, said.err
    found = [load_file(command.models / name / "vae" / WEIGHTS.partition("/")[2])
             for name in ("whole", "folder", "file")]  # fmt: skip
    key = "decoder.conv_in.weight"
    assert torch.equal(found[1][key], found[2][key])
    assert torch.equal(found[1][key], found[0][key] * 1.01)
    sdxl_vae = tmp_path / "xl"
    shutil.copytree(command.models / "whole" / "vae", sdxl_vae)
    config = json.loads((sdxl_vae / "config.json").read_text()) | {"scaling_factor": 0.13025}
    (sdxl_vae / "config.json").write_text(json.dumps(config))
    refused = command("add", command.models / "whole", "--name", "x", "--vae", sdxl_vae)
    assert "another family's" in refused.refusal


def test_the_same_is_not_added_twice_and_another_is_not_passed_off(
    command: Command, mine: Path
) -> None:
    config = mine / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"prediction_type": "epsilon"', '"rho": 7'))
    pin = digest(mine)
    assert command("add", mine, "--no-check", "--sha256", pin).code == 0
    assert "already" in command("add", mine, "--no-check", "--sha256", pin).out
    words = ("add", mine, "--no-check", "--prediction", "v_prediction")
    assert "--replace" in command(*words, "--sha256", pin).refusal
    said = command(*words, "--replace")
    assert said.code == 0, said.err
    assert "options     prediction v_prediction" in said.out
    assert "prediction  v_prediction" in command("show", "tiny").out
