"""LoRAs fused into a model's files, against a reference that is computed from what was trained."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from diffusion.errors import BundleError
from diffusion.lora.file import check_lora
from diffusion.lora.fuse import fuse
from tests.diffusion.lora import loras
from tests.diffusion.lora.loras import Pair, Pairs, Tensors
from tests.layouts.unet_family import sd15, sdxl

WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
}


@dataclass(eq=False)
class Base:
    """A model's folder, its networks and their LoRAs."""

    folder: Path
    networks: dict[str, Any] = field(default_factory=dict)
    pairs: dict[str, Pairs] = field(default_factory=dict)

    def copied(self, folder: Path) -> Path:
        """Return a copy that may be changed."""
        return Path(shutil.copytree(self.folder, folder))


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Base]:
    folder = tmp_path_factory.mktemp("bases")
    found = {"sd15": Base(sd15(folder / "sd15")), "sdxl": Base(sdxl(folder / "sdxl"))}
    for base in found.values():
        kinds = {"unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}
        if (base.folder / "text_encoder_2").exists():
            kinds["text_encoder_2"] = CLIPTextModelWithProjection
        for number, (part, kind) in enumerate(kinds.items()):
            network = kind.from_pretrained(base.folder / part).eval()
            base.networks[part] = network
            base.pairs[part] = loras.random_pairs(network, number, convs=part == "unet")
    return found


def kohya(base: Base) -> tuple[Tensors, dict[str, Pairs]]:
    """All networks under kohya's names; SDXL's first encoder has a number."""
    two = "text_encoder_2" in base.networks
    tensors: Tensors = {}
    for part, pairs in base.pairs.items():
        name = "text_encoder_1" if two and part == "text_encoder" else part
        tensors |= loras.kohya(name, pairs)
    return tensors, base.pairs


def sgm(base: Base) -> tuple[Tensors, dict[str, Pairs]]:
    return loras.sgm(base.networks["unet"], base.pairs["unet"]), {"unet": base.pairs["unet"]}


def peft(base: Base) -> tuple[Tensors, dict[str, Pairs]]:
    tensors: Tensors = {}
    for part, pairs in base.pairs.items():
        tensors |= loras.peft(part, pairs)
    return tensors, {part: loras.without_alphas(pairs) for part, pairs in base.pairs.items()}


def bare_peft(base: Base) -> tuple[Tensors, dict[str, Pairs]]:
    pairs = loras.without_alphas(base.pairs["unet"])
    return loras.peft("", pairs, prefix="base_model.model."), {"unet": pairs}


def old_diffusers(base: Base) -> tuple[Tensors, dict[str, Pairs]]:
    tensors: Tensors = {}
    for part, pairs in base.pairs.items():
        tensors |= loras.diffusers(part, pairs, old=True)
    return tensors, {part: loras.without_alphas(pairs) for part, pairs in base.pairs.items()}


def diffusers(base: Base) -> tuple[Tensors, dict[str, Pairs]]:
    tensors: Tensors = {}
    for part, pairs in base.pairs.items():
        tensors |= loras.diffusers(part, pairs, old=False)
    return tensors, {part: loras.without_alphas(pairs) for part, pairs in base.pairs.items()}


NAMED: dict[str, Callable[[Base], tuple[Tensors, dict[str, Pairs]]]] = {
    each.__name__: each for each in (kohya, sgm, peft, bare_peft, old_diffusers, diffusers)
}


def worst(base: Base, fused: Path, sums: dict[str, list[tuple[float, Pairs]]]) -> float:
    """Return the largest difference from the reference, of any weight of any network."""
    found = 0.0
    for part, network in base.networks.items():
        tensors = {n.removeprefix("text_model."): t
                   for n, t in load_file(fused / part / WEIGHTS[part]).items()}  # fmt: skip
        own = {n.removeprefix("text_model."): t for n, t in network.state_dict().items()}
        for name, tensor in tensors.items():
            expected = own[name].double()
            for weight, pairs in sums.get(part, []):
                plain = {n.removeprefix("text_model."): p for n, p in pairs.items()}
                if (pair := plain.get(name.removesuffix(".weight"))) and name.endswith(".weight"):
                    expected = expected + weight * pair.change(own[name])
            found = max(found, float((tensor - expected).abs().max()))
    return found


@pytest.mark.parametrize(
    ("model", "names"),
    # Only SDXL's are trained under the names of the original blocks.
    [(m, n) for m in ("sd15", "sdxl") for n in NAMED if (m, n) != ("sd15", "sgm")],
)
def test_every_name_reaches_its_layer(
    bases: dict[str, Base], tmp_path: Path, model: str, names: str
) -> None:
    base = bases[model]
    tensors, pairs = NAMED[names](base)
    folder = base.copied(tmp_path / "m")
    (said,) = fuse(folder, [(loras.write(tmp_path / "style.safetensors", tensors), 0.7)])
    assert worst(base, folder, {part: [(0.7, each)] for part, each in pairs.items()}) < 2e-6
    for part, each in pairs.items():
        assert f"{len(each)} layers of {part}" in said
    assert "style.safetensors:0.7" in said


def test_several_add_up(bases: dict[str, Base], tmp_path: Path) -> None:
    base, folder = bases["sdxl"], bases["sdxl"].copied(tmp_path / "m")
    first, pairs = kohya(base)
    second, more = peft(base)
    given = [
        (loras.write(tmp_path / "a.safetensors", first), 1.0),
        (loras.write(tmp_path / "b.safetensors", second), -0.4),
    ]
    assert len(fuse(folder, given)) == 2
    sums = {part: [(1.0, pairs[part]), (-0.4, more[part])] for part in pairs}
    assert worst(base, folder, sums) < 4e-6


def test_a_fused_network_predicts_as_one_with_adapters(
    bases: dict[str, Base], tmp_path: Path
) -> None:
    """The reference adds to what each layer returns, and never forms a difference of weights."""
    base, folder = bases["sdxl"], bases["sdxl"].copied(tmp_path / "m")
    tensors, pairs = kohya(base)
    fuse(folder, [(loras.write(tmp_path / "a.safetensors", tensors), 0.5)])
    fused = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    torch.manual_seed(0)
    inputs = (torch.randn(2, 4, 16, 16), torch.tensor([7, 501]), torch.randn(2, 77, 64))
    added = {"text_embeds": torch.randn(2, 32), "time_ids": torch.rand(2, 6) * 100}
    with torch.inference_mode():
        plain = base.networks["unet"](*inputs, added_cond_kwargs=added).sample
        found = fused(*inputs, added_cond_kwargs=added).sample
        hooks = list(loras.hooked(base.networks["unet"], pairs["unet"], 0.5))
        expected = base.networks["unet"](*inputs, added_cond_kwargs=added).sample
        for hook in hooks:
            hook.remove()
    assert (found - expected).abs().max() < 2e-5
    assert (plain - expected).abs().max() > 0.1, "it changes nothing"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_stored_precision_stays_and_is_rounded_to_once(
    bases: dict[str, Base], tmp_path: Path, dtype: torch.dtype
) -> None:
    base, folder = bases["sd15"], bases["sd15"].copied(tmp_path / "m")
    file = folder / "unet" / WEIGHTS["unet"]
    half = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    save_file(half, file, {"format": "pt", "kept": "yes"})
    pairs = {"unet": base.pairs["unet"]}
    tensors = loras.kohya("unet", pairs["unet"])
    path = loras.write(tmp_path / "a.safetensors", {n: t.half() for n, t in tensors.items()})
    fuse(folder, [(path, 1.0)])
    for name, tensor in load_file(file).items():
        assert tensor.dtype == dtype
        expected = half[name].double()
        if (pair := pairs["unet"].get(name.removesuffix(".weight"))) and name.endswith(".weight"):
            stored = Pair(pair.down.half().float(), pair.up.half().float(), pair.alpha)
            expected = expected + stored.change(tensor)
        error = (tensor.double() - expected).abs()
        assert (error <= torch.finfo(dtype).eps * expected.abs() + 1e-6).all()


def test_shards_are_fused_one_by_one(bases: dict[str, Base], tmp_path: Path) -> None:
    base, folder = bases["sd15"], bases["sd15"].copied(tmp_path / "m")
    shutil.rmtree(folder / "unet")
    base.networks["unet"].save_pretrained(folder / "unet", max_shard_size="200KB")
    assert len(list((folder / "unet").glob("*-of-*.safetensors"))) > 2
    tensors, pairs = peft(base)
    fuse(folder, [(loras.write(tmp_path / "a.safetensors", tensors), 1.0)])
    fused = UNet2DConditionModel.from_pretrained(folder / "unet").state_dict()
    for name, pair in pairs["unet"].items():
        own = base.networks["unet"].state_dict()[f"{name}.weight"]
        assert (fused[f"{name}.weight"] - own - pair.change(own)).abs().max() < 1e-6
    assert not list(folder.rglob("*.fused"))


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"unet.r": 4, "unet.lora_alpha": 8}, lambda rank: 8 / rank),
        ({"r": 4, "lora_alpha": 8}, lambda rank: 8 / rank),
        ({"unet.lora_alpha": 8, "unet.use_rslora": True}, lambda rank: 8 / rank**0.5),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_q": 3}}, None),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {r"^mid_block\.to_q$": 3}},
         lambda rank: 8 / rank),
    ],
)  # fmt: skip
def test_pefts_configuration_scales(
    bases: dict[str, Base], tmp_path: Path, config: dict[str, Any], scale: Any
) -> None:
    base, folder = bases["sd15"], bases["sd15"].copied(tmp_path / "m")
    pairs = base.pairs["unet"]
    path = loras.write(tmp_path / "a.safetensors", loras.peft("unet", pairs), **config)
    fuse(folder, [(path, 1.0)])
    scaled = {}
    for name, pair in pairs.items():
        rank = len(pair.down)
        own = 3 if name.endswith(".to_q") else 8
        factor = own / rank if scale is None else scale(rank)
        scaled[name] = Pair(pair.down, pair.up, factor * rank)
    assert worst(base, folder, {"unet": [(1.0, scaled)]}) < 2e-6


ONE = "lora_unet_mid_block_attentions_0_proj_in"
KINDS = {
    "DoRA": {f"{ONE}.dora_scale": torch.ones(1)},
    "LoHa": {f"{ONE}.hada_w1_a": torch.ones(2, 2)},
    "LoKr": {f"{ONE}.lokr_w1": torch.ones(2, 2)},
    "LoCon with a middle layer": {f"{ONE}.lora_mid.weight": torch.ones(2, 2, 3, 3)},
    "OFT": {f"{ONE}.oft_blocks": torch.ones(2, 2, 2)},
    "full differences": {f"{ONE}.diff": torch.ones(2)},
    "LoRA with biases": {"unet.mid_block.proj_in.lora_B.bias": torch.ones(2)},
    "IA3": {f"{ONE}.on_input": torch.ones(1)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    plain = {f"{ONE}.lora_down.weight": torch.ones(2, 4), f"{ONE}.lora_up.weight": torch.ones(4, 2)}
    path = loras.write(tmp_path / "x.safetensors", plain | KINDS[kind])
    with pytest.raises(BundleError, match=rf"^x.safetensors is {kind} \("):
        check_lora(path)


def test_dora_of_pefts_configuration_is_refused(bases: dict[str, Base], tmp_path: Path) -> None:
    tensors = loras.peft("unet", bases["sd15"].pairs["unet"])
    path = loras.write(tmp_path / "x.safetensors", tensors, **{"unet.use_dora": True})
    with pytest.raises(BundleError, match="is DoRA"):
        fuse(bases["sd15"].copied(tmp_path / "m"), [(path, 1.0)])


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"a": torch.ones(1)}, "holds no LoRA"),
        ({f"{ONE}.lora_down.weight": torch.ones(2, 4)}, "are not a LoRA's"),
        ({"unet.x.lora_A.weight": torch.ones(2, 4)}, "one side of two"),
        ({"unet.x.lora_A.weight": torch.ones(2, 4), "unet.x.lora_B.weight": torch.ones(4, 3)},
         "does not follow"),
        ({"unet.x.lora_A.weight": torch.ones(2, 4), "unet.x.lora_B.weight": torch.ones(4, 2)},
         r"a.safetensors is not for this unet: 1 weights are unexpected \(x\)"),
        ({"transformer.x.lora_A.weight": torch.ones(2, 4), "unet.y.lora_B.weight": torch.ones(4)},
         "of no part"),
        ({"unet.x.lora_A.weight": torch.ones(2, 4).to(torch.float8_e4m3fn)}, "F8_E4M3"),
        ({"unet.x.lora_A.weight": torch.ones(2, 4), "unet.x.other": torch.ones(4, 2)},
         "is no weight of a LoRA"),
    ],
)  # fmt: skip
def test_what_is_no_lora_of_this_model_is_named(
    bases: dict[str, Base], tmp_path: Path, tensors: Tensors, said: str
) -> None:
    path = loras.write(tmp_path / "a.safetensors", tensors)
    with pytest.raises(BundleError, match=said) as refused:
        fuse(bases["sd15"].copied(tmp_path / "m"), [(path, 1.0)])
    assert "a.safetensors" in str(refused.value)


def test_a_lora_of_another_family_is_refused(bases: dict[str, Base], tmp_path: Path) -> None:
    of_sdxl = loras.write(tmp_path / "xl.safetensors", kohya(bases["sdxl"])[0])
    with pytest.raises(BundleError, match=r"xl\.safetensors|in the LoRA"):
        fuse(bases["sd15"].copied(tmp_path / "m"), [(of_sdxl, 1.0)])


def test_what_overflows_is_refused(bases: dict[str, Base], tmp_path: Path) -> None:
    folder = bases["sd15"].copied(tmp_path / "m")
    file = folder / "unet" / WEIGHTS["unet"]
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    path = loras.write(tmp_path / "a.safetensors", peft(bases["sd15"])[0])
    with pytest.raises(BundleError, match="not finite"):
        fuse(folder, [(path, 1e8)])


def test_a_model_without_a_unet_is_refused(tmp_path: Path, bases: dict[str, Base]) -> None:
    (tmp_path / "m" / "transformer").mkdir(parents=True)
    (tmp_path / "m" / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    path = loras.write(tmp_path / "a.safetensors", peft(bases["sd15"])[0])
    with pytest.raises(BundleError, match="which this model has not"):
        fuse(tmp_path / "m", [(path, 1.0)])
