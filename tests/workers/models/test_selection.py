"""Which files of a folder make the model."""

from workers.models.sources.selection import select

WEIGHTS = "diffusion_pytorch_model.safetensors"


def test_a_distilled_decoder_beside_the_parts_is_taken() -> None:
    files = [f"{part}/{name}" for part in ("unet", "taesd") for name in ("config.json", WEIGHTS)]
    index = {"unet": ["diffusers", "UNet2DConditionModel"]}
    chosen = select(["model_index.json", *files], index, None)
    assert {"taesd/config.json", f"taesd/{WEIGHTS}"} <= {*chosen.files}
    assert chosen.missing == ()
    assert "taesd/config.json" not in select(["model_index.json", *files[:2]], index, None).files
