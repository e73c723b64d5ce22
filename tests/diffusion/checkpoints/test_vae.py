"""A VAE may come apart from its checkpoint."""

import json
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file

from diffusion.checkpoints.single_file import convert
from diffusion.errors import BundleError
from tests.diffusion.checkpoints import original
from tests.diffusion.checkpoints.models import SD1, SDXL, changed, tiny

WEIGHTS = "vae/diffusion_pytorch_model.safetensors"


def other_vae(scaling_factor: float = 0.18215) -> AutoencoderKL:
    torch.manual_seed(9)
    vae: AutoencoderKL = changed(tiny(SD1).vae, scaling_factor=scaling_factor)
    return vae


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkpoint without a VAE."""
    tensors = tiny(SD1).tensors()
    kept = {n: t for n, t in tensors.items() if not n.startswith("first_stage_model.")}
    return original.write(tmp_path / "bare.safetensors", kept)


def test_without_one_the_option_is_named(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^bare\.safetensors holds no VAE: give one with --vae"):
        convert(bare, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_a_file_is_taken(bare: Path, tmp_path: Path, prefix: str) -> None:
    vae = other_vae()
    tensors = original.vae(vae, prefix) | {f"{prefix}loss.logvar": torch.zeros(())}
    file = original.write(tmp_path / "vae.safetensors", tensors)
    convert(bare, tmp_path / "m", vae=file)
    given = load_file(tmp_path / "m" / WEIGHTS)
    wanted = vae.state_dict()
    assert given.keys() == wanted.keys()
    assert all(torch.equal(given[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("inside", ["", "vae"])
@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_folder_is_taken(bare: Path, tmp_path: Path, inside: str, variant: str | None) -> None:
    vae = other_vae()
    vae.save_pretrained(tmp_path / "given" / inside, variant=variant, max_shard_size="100KB")
    convert(bare, tmp_path / "m", vae=tmp_path / "given")
    given = load_file(tmp_path / "m" / WEIGHTS)
    assert all(torch.equal(given[name], tensor) for name, tensor in vae.state_dict().items())


def test_a_file_of_diffusers_names_is_taken(bare: Path, tmp_path: Path) -> None:
    vae = other_vae()
    file = original.write(tmp_path / "vae.safetensors", dict(vae.state_dict()))
    convert(bare, tmp_path / "m", vae=file)
    given = load_file(tmp_path / "m" / WEIGHTS)
    assert all(torch.equal(given[name], tensor) for name, tensor in vae.state_dict().items())


def test_it_replaces_the_files_own_and_says_so(tmp_path: Path) -> None:
    file = original.write(tmp_path / "m.safetensors", tiny(SD1).tensors())
    vae = other_vae()
    given = original.write(tmp_path / "vae.safetensors", original.vae(vae, ""))
    notes = convert(file, tmp_path / "m", vae=given).notes
    assert "its VAE is replaced by vae.safetensors" in notes
    written = load_file(tmp_path / "m" / WEIGHTS)
    assert torch.equal(written["decoder.conv_in.bias"], vae.state_dict()["decoder.conv_in.bias"])


def test_another_familys_is_refused(tmp_path: Path) -> None:
    file = original.write(tmp_path / "m.safetensors", tiny(SDXL).tensors())
    other_vae().save_pretrained(tmp_path / "given")
    with pytest.raises(BundleError, match=r"scaling_factor 0\.18215 is another family's VAE"):
        convert(file, tmp_path / "m", vae=tmp_path / "given")
    other_vae(0.13025).save_pretrained(tmp_path / "right")
    convert(file, tmp_path / "m", vae=tmp_path / "right")
    assert json.loads((tmp_path / "m/vae/config.json").read_text())["scaling_factor"] == 0.13025


def test_what_is_no_vae_is_refused(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^bare\.safetensors is no VAE"):
        convert(bare, tmp_path / "m", vae=bare)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"config\.json is missing"):
        convert(bare, tmp_path / "m", vae=tmp_path / "empty")
    pickle = tmp_path / "vae.pt"
    pickle.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(BundleError, match=r"vae\.pt is a pickle"):
        convert(bare, tmp_path / "m", vae=pickle)
    with pytest.raises(BundleError, match=r"gone\.safetensors"):
        convert(bare, tmp_path / "m", vae=tmp_path / "gone.safetensors")


def test_one_of_other_latents_is_refused(bare: Path, tmp_path: Path) -> None:
    wide = changed(tiny(SD1).vae, latent_channels=16)
    file = original.write(tmp_path / "vae.safetensors", original.vae(wide, ""))
    with pytest.raises(BundleError, match=r"vae\.safetensors: .*16 channels"):
        convert(bare, tmp_path / "m", vae=file)
