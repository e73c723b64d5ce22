"""A run becomes a bundle that the service loads, draws with, measures and describes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from diffusion.bundle.bundle import load_bundle
from diffusion.files import check_files, read_json
from model_export.bundle import EVALUATION, Defaults, bundle_run, has_emoji
from model_export.data.captions import Caption
from model_export.errors import CheckpointError, ExportError
from model_export.evaluation.card import ASKED_SHEET, write_card
from model_export.evaluation.evaluate import Run, bounds, evaluate, read_evaluation, record
from model_export.evaluation.gallery import Gallery, make_gallery
from model_export.evaluation.sampling import SamplingSettings, draw
from model_export.evaluation.sheet import ASKED, write_asked, write_seeds, write_sheet
from model_export.training.checkpoint import load_checkpoint
from tests.model_export.examples import NETWORK, SETTINGS, SIDE, toy_dataset
from tests.model_export.training.test_training import run

GALLERY = make_gallery(toy_dataset(), 6)
QUICK = SamplingSettings(steps=2, guidance_scale=1.5, batch=4)


def measured(
    folder: Path,
    prompts: str = "zh",
    settings: SamplingSettings = QUICK,
    gallery: Gallery = GALLERY,
    seeds: int = 1,
) -> Run:
    """Evaluate a bundle and record the run in it."""
    loaded = load_bundle(folder)
    run = evaluate(loaded, folder, gallery, prompts, settings, seeds=seeds, progress=lambda: None)
    record(folder, [run], bounds(folder, GALLERY))
    return run


def test_bundle_holds_averaged_weights_in_half_precision(run_folder: Path, bundle: Path) -> None:
    check_files(bundle)
    loaded = load_bundle(bundle)
    assert (loaded.info.name, loaded.info.prediction_type) == ("toy", "sample")
    assert loaded.info.width == loaded.info.height == loaded.info.min_side == SIDE
    assert loaded.info.latent_channels == NETWORK.latent_channels
    averaged = run(run_folder, 2).averaged()
    for part, file in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        for name, tensor in load_file(bundle / part / f"{file}.safetensors").items():
            assert torch.equal(tensor, averaged[f"{part}.{name}"].half()), name


def test_bundle_decodes_what_the_codec_encoded(run_folder: Path, bundle: Path) -> None:
    trainer = run(run_folder, 2)
    latents = trainer.targets.of(list(range(6)), [Caption("")] * 6)
    images = load_bundle(bundle).decode(latents)
    error = np.abs(images.astype(int) - toy_dataset().trained(6).images)
    assert error.mean() < 12  # eight components of 192


def test_equal_runs_give_equal_bundles(run_folder: Path, bundle: Path, tmp_path: Path) -> None:
    again = bundle_run(run_folder, tmp_path / "again", Defaults(name="toy", title="Toy"))
    files = sorted(p.relative_to(bundle) for p in bundle.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for name in files:
        assert (bundle / name).read_bytes() == (again / name).read_bytes(), name


def test_weights_may_be_the_mean_with_those_of_earlier_runs(
    run_folder: Path, bundle: Path, tmp_path: Path
) -> None:
    first = load_checkpoint(run_folder)
    second = run(tmp_path / "run2", 3, origin=run_folder).checkpoint(0)
    third = run(tmp_path / "run3", 4, origin=tmp_path / "run2").checkpoint(0)
    mean = bundle_run(
        tmp_path / "run3", tmp_path / "mean", Defaults(), mean=[bundle, tmp_path / "run2"]
    )
    assert read_json(mean / "training.json")["mean_of"] == [1, 2, 3]
    for name, tensor in load_file(mean / "text_encoder" / "model.safetensors").items():
        parts = [each.part("ema")[f"text_encoder.{name}"] for each in (first, second, third)]
        assert torch.allclose(tensor.float(), torch.stack(parts).mean(0), atol=1e-3), name
    run(tmp_path / "run4", 1, origin=mean)
    measured(mean)
    text = write_card(mean).read_text("utf-8")
    assert "the mean of those of runs 1, 2, 3" in text
    assert "bundle run3 <bundle> --mean run1 --mean run2\n" in text
    training = read_json(mean / "training.json")
    (mean / "training.json").write_text(json.dumps({**training, "mean_of": [], "origin": training}))
    text = write_card(mean).read_text("utf-8")
    assert "bundle run3 mean3 --mean run1 --mean run2\n" in text
    assert "--origin mean3\n" in text


def test_weights_of_other_runs_have_no_mean(run_folder: Path, tmp_path: Path) -> None:
    run(tmp_path / "other", 3)
    run(tmp_path / "run2", 4, origin=run_folder)
    for mean, why in (
        ([tmp_path / "other"], "led to them"),
        ([tmp_path / "run2"], "led to them"),
        ([run_folder, run_folder], "once"),
    ):
        with pytest.raises(CheckpointError, match=why):
            bundle_run(tmp_path / "run2", tmp_path / "mean", Defaults(), mean=mean)


def test_a_mean_is_no_part_of_another_mean(run_folder: Path, tmp_path: Path) -> None:
    run(tmp_path / "run2", 3, origin=run_folder)
    mean = bundle_run(tmp_path / "run2", tmp_path / "mean", Defaults(), mean=[run_folder])
    run(tmp_path / "run3", 4, origin=mean)
    with pytest.raises(CheckpointError, match="a mean themselves"):
        bundle_run(tmp_path / "run3", tmp_path / "out", Defaults(), mean=[mean])


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        bundle_run(tmp_path, tmp_path / "out", Defaults())
    assert not (tmp_path / "out").exists()


def test_drawing_does_not_depend_on_the_batch(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    prompts, seeds = ["red heart", "老虎", "", "apple", "whale"], [3, 1, 2, 9, 4]
    together = list(draw(loaded, prompts, seeds, QUICK))
    assert len(together) == 5
    for prompt, seed, image in zip(prompts, seeds, together, strict=True):
        (alone,) = draw(loaded, [prompt], [seed], QUICK)
        assert np.abs(alone.astype(int) - image).max() <= 1


def test_stochastic_sampler_draws_the_same_again(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    settings = SamplingSettings(sampler="ddpm", steps=3, batch=4)
    first, again = (next(draw(loaded, ["tiger"], [5], settings)) for _ in range(2))
    assert np.array_equal(first, again)


def test_evaluation_belongs_to_its_weights(run_folder: Path, bundle: Path, tmp_path: Path) -> None:
    loaded = load_bundle(bundle)
    calls: list[int] = []
    result = evaluate(
        loaded, bundle, GALLERY, "en", QUICK, seeds=2, progress=lambda: calls.append(1)
    )
    assert len(calls) == 12
    assert (result.emoji, result.seeds, result.guidance_scale) == (6, 2, 1.5)
    assert 0 <= result.measures.top1 <= result.measures.top5 <= 1
    for _ in range(2):  # the same run again takes the place of the first
        record(bundle, [result], bounds(bundle, GALLERY))
    evaluation = read_evaluation(bundle)
    assert len(evaluation["runs"]) == 1
    assert evaluation["bounds"]["codec"]["top1"] == 1
    assert evaluation["bounds"]["others"]["top1"] == 0

    bundle_run(run_folder, bundle, Defaults(name="toy", default_guidance_scale=3.0))
    assert len(read_evaluation(bundle)["runs"]) == 1
    run(tmp_path / "longer", 3)
    bundle_run(tmp_path / "longer", bundle, Defaults(name="toy"))
    assert not (bundle / EVALUATION).exists()


def test_card_needs_figures_and_states_them(bundle: Path) -> None:
    with pytest.raises(ExportError, match="evaluate the bundle first"):
        write_card(bundle)
    for kind in ("zh", "tags"):
        result = measured(bundle, kind)
    text = write_card(bundle).read_text("utf-8")
    parts = ("# Toy", "Chinese label", "three English tags", "OFL", f"{SIDE}×{SIDE}", "2 steps")
    for part in parts:
        assert part in text, part
    assert f"{result.measures.psnr_db:.2f}" in text
    evaluation = read_json(bundle / EVALUATION)
    (bundle / EVALUATION).write_text(json.dumps(evaluation | {"sha256": "0"}))
    with pytest.raises(ExportError, match="other weights"):
        write_card(bundle)


def test_a_sheet_of_other_prompts_has_a_row_each(bundle: Path, tmp_path: Path) -> None:
    path = write_seeds(tmp_path / "s.png", load_bundle(bundle), ["猫", "b"], QUICK, columns=3)
    with Image.open(path) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (2 * SIDE, 3 * SIDE, 3)
    alone = next(iter(draw(load_bundle(bundle), ["b"], [1], QUICK)))
    assert np.abs(sheet[SIDE:, SIDE : 2 * SIDE].astype(int) - alone).max() <= 1


def test_the_sheet_of_what_people_ask_for_is_on_the_card(bundle: Path) -> None:
    measured(bundle)
    assert "Twenty prompts" not in write_card(bundle).read_text("utf-8")
    write_asked(bundle / ASKED_SHEET, load_bundle(bundle), QUICK)
    with Image.open(bundle / ASKED_SHEET) as image:
        assert image.size == (5 * SIDE, 4 * SIDE)
    text = write_card(bundle).read_text("utf-8")
    assert len(ASKED) == 20
    for part in ("Twenty prompts", f"]({ASKED_SHEET})", "sheet <bundle> --asked\n", *ASKED):
        assert part in text, part


def test_sheet_shows_each_drawing_beside_its_reference(bundle: Path, tmp_path: Path) -> None:
    loaded, path = load_bundle(bundle), tmp_path / "sheet.png"
    write_sheet(path, loaded, GALLERY, "en", QUICK, columns=3, references=True)
    with Image.open(path) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (2 * SIDE, 3 * 2 * SIDE, 3)
    assert np.array_equal(sheet[:SIDE, :SIDE], GALLERY.images[0])


def test_card_has_the_command_of_each_figure(bundle: Path) -> None:
    for kind in ("en", "zh", "tags"):
        measured(bundle, kind, SamplingSettings(steps=15, guidance_scale=2.0), seeds=4)
    measured(bundle, "zh", SamplingSettings(steps=2, guidance_scale=1.0), GALLERY.every(2))
    text = write_card(bundle).read_text("utf-8")
    assert "model_export evaluate <bundle>\n" in text
    assert "evaluate <bundle> --prompts zh --guidance 1 --steps 2 --seeds 1 --every 2\n" in text
    row = next(line for line in text.splitlines() if line.startswith("| Chinese label | 15 "))
    assert not row.endswith("| – |")
    assert "| Chinese label | 1 | 3 | " in text


def test_card_of_a_run_from_before_there_were_choices(bundle: Path) -> None:
    measured(bundle)
    training = read_json(bundle / "training.json")
    for name in ("mix", "one_step", "precision"):
        del training["settings"][name]
    (bundle / "training.json").write_text(json.dumps(training))
    text = write_card(bundle).read_text("utf-8")
    assert "Chinese labels 28%, Chinese tags 12%.\n" in text
    assert "--mix 0.35 0.1 0.15 0.28 0.12 0 0 0" in text
    assert "Sentences" not in text
    assert "--one-step" not in text
    assert "--precision" not in text


def test_card_tells_of_sentences_and_colours_if_there_were_any(bundle: Path) -> None:
    measured(bundle)
    text = write_card(bundle).read_text("utf-8")
    assert "English sentences 14%, Chinese sentences 14%, colours 14%.\n" in text
    assert "Sentences are composed" in text
    assert "--mix" not in text


def test_card_names_the_emoji_that_the_weights_started_from(bundle: Path) -> None:
    measured(bundle)
    emoji = read_json(bundle / "training.json")
    custom = {**emoji, "data": {"pictures": 3, "captions": 4, "examples": ["a cat"]}}
    for training, mixed in (
        (custom, False),
        ({**custom, "origin": custom}, False),
        ({**custom, "origin": emoji}, True),
        ({**custom, "origin": {**custom, "origin": emoji}}, True),
    ):
        (bundle / "training.json").write_text(json.dumps(training))
        text = write_card(bundle).read_text("utf-8")
        assert ("Noto Color Emoji" in text) == mixed == has_emoji(training)
        assert ("license: ofl-1.1" in text) == mixed
        assert ("pictures <folder> --out custom\n" in text) == mixed


def test_a_one_step_regression_is_served_in_one_step(tmp_path: Path) -> None:
    run(tmp_path / "run", 1, replace(SETTINGS, one_step=True))
    folder = bundle_run(tmp_path / "run", tmp_path / "toy", Defaults(name="toy"))
    loaded = load_bundle(folder)
    assert (loaded.info.default_steps, loaded.info.default_guidance_scale) == (1, 1.0)
    measured(folder)
    text = write_card(folder).read_text("utf-8")
    assert "--one-step" in text
    assert "at the noisiest timestep, as pure noise" in text
