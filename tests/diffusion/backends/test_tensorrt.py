"""What TensorRT would be told: nothing here runs it."""

from pathlib import Path

from diffusion.backends.onnx.tensorrt import provider_options

INPUTS: dict[str, list[int | str]] = {
    "sample": ["rows", 4, "height", "width"],
    "timesteps": ["rows"],
    "embeddings": ["rows", "tokens", 768],
    "time_ids": ["rows", 6],
}


def test_engines_are_built_for_the_sizes_that_are_served(tmp_path: Path) -> None:
    options = provider_options(INPUTS, side=64, most_rows=40, cache=tmp_path, halves=True)
    wanted = {"min": (1, 8, 1), "opt": (16, 64, 77), "max": (40, 128, 154)}
    for which, (rows, side, tokens) in wanted.items():
        assert options[f"trt_profile_{which}_shapes"] == (
            f"sample:{rows}x4x{side}x{side},timesteps:{rows},"
            f"embeddings:{rows}x{tokens}x768,time_ids:{rows}x6"
        )
    assert options["trt_fp16_enable"]
    assert options["trt_engine_cache_enable"]
    assert options["trt_engine_cache_path"] == str(tmp_path / "tensorrt")


def test_without_a_cache_nothing_is_kept_and_small_models_have_small_sizes() -> None:
    options = provider_options(INPUTS, side=4, most_rows=2, cache=None, halves=False)
    assert not any("cache" in name for name in options)
    assert options["trt_profile_min_shapes"].startswith("sample:1x4x4x4")
    assert options["trt_profile_opt_shapes"].startswith("sample:2x4x4x4")
    assert not options["trt_fp16_enable"]
