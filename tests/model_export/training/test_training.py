"""A run learns, and a resumed one ends in the same bits as an uninterrupted one."""

import json
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from model_export.data.data import Dataset
from model_export.errors import CheckpointError, ExportError
from model_export.training.checkpoint import NAME
from model_export.training.origin import ORIGIN
from model_export.training.settings import Process, TrainingSettings, settings_of
from model_export.training.train import Limit, Progress, learning_rate, open_run, train
from model_export.training.trainer import Trainer
from tests.model_export.examples import SETTINGS, toy_dataset

CPU = torch.device("cpu")


def run(
    folder: Path,
    steps: int,
    settings: TrainingSettings = SETTINGS,
    dataset: Dataset | None = None,
    stop: threading.Event | None = None,
    reports: list[Progress] | None = None,
    origin: Path | None = None,
) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    return train(
        folder,
        dataset or toy_dataset(),
        settings,
        Limit(steps=steps),
        device=CPU,
        report=(reports if reports is not None else []).append,
        stop=stop or threading.Event(),
        origin=origin,
    )


def test_resumed_run_equals_an_undisturbed_one_bit_for_bit(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 7)
    run(tmp_path / "parts", 3)
    parts = run(tmp_path / "parts", 7)
    assert parts.step == whole.step == 7
    left, right = whole.checkpoint(0).tensors, parts.checkpoint(0).tensors
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def test_weights_average_and_moments_move(tmp_path: Path) -> None:
    before = run(tmp_path, 1).checkpoint(0).tensors
    after = run(tmp_path, 3).checkpoint(0).tensors
    for prefix in ("networks", "ema", "exp_avg", "exp_avg_sq"):
        name = f"{prefix}.unet.conv_in.weight"
        assert not torch.equal(before[name], after[name]), name
    weight, average = after["networks.unet.conv_in.weight"], after["ema.unet.conv_in.weight"]
    assert not torch.equal(weight, average)


def test_loss_falls(tmp_path: Path) -> None:
    reports: list[Progress] = []
    run(tmp_path, 100, replace(SETTINGS, learning_rate=3e-3), reports=reports)
    assert [p.step for p in reports] == [50, 100]
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert reports[-1].pictures_per_s > 0
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [50, 100]


@pytest.mark.full
def test_bfloat16_learns_in_float32_weights(tmp_path: Path) -> None:
    reports: list[Progress] = []
    settings = replace(SETTINGS, learning_rate=3e-3, precision="bfloat16")
    trainer = run(tmp_path, 100, settings, reports=reports)
    assert reports[-1].loss < 0.8 * reports[0].loss
    tensors = trainer.checkpoint(0).tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"batch": 5}, "batch"),
        ({"process": Process(prediction_type="v_prediction")}, "process"),
        ({"seed": 1}, "seed"),
        ({"weighting": "min_snr"}, "weighting"),
        ({"precision": "bfloat16"}, "precision"),
    ],
)
def test_run_resumes_under_equal_settings(
    tmp_path: Path, change: dict[str, object], name: str
) -> None:
    run(tmp_path, 1)
    bytes_before = (tmp_path / NAME).read_bytes()
    with pytest.raises(CheckpointError, match=name):
        run(tmp_path, 2, replace(SETTINGS, **change))  # type: ignore[arg-type]
    assert (tmp_path / NAME).read_bytes() == bytes_before


def test_run_resumes_with_equal_data(tmp_path: Path) -> None:
    run(tmp_path, 1)
    dataset = toy_dataset()
    with pytest.raises(CheckpointError, match="another data set"):
        run(tmp_path, 2, dataset=Dataset(dataset.examples, 255 - dataset.images))


def test_run_begins_from_the_averaged_weights_of_another(tmp_path: Path) -> None:
    origin = run(tmp_path / "origin", 4)
    settings = replace(SETTINGS, process=Process(beta_end=0.02))
    trainer, _ = open_run(tmp_path / "new", toy_dataset(), settings, CPU, tmp_path / "origin")
    assert trainer.step == 0
    for name, tensor in trainer.networks.named_parameters():
        assert torch.equal(tensor, origin.averaged()[name]), name
    assert json.loads((tmp_path / "new" / ORIGIN).read_text())["step"] == 4


def test_a_record_of_fewer_kinds_of_prompts_is_read() -> None:
    record = asdict(SETTINGS)
    assert settings_of(record) == SETTINGS
    older = settings_of(record | {"mix": [0.4, 0.1, 0.2, 0.22, 0.08]})
    assert older.mix == (0.4, 0.1, 0.2, 0.22, 0.08, 0, 0, 0)
    del record["mix"]
    assert settings_of(record).mix == (0.35, 0.1, 0.15, 0.28, 0.12, 0, 0, 0)


def test_run_without_its_parts_is_refused(tmp_path: Path) -> None:
    run(tmp_path, 1)
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(ExportError, match="tokenizer"):
        run(tmp_path, 2)


def test_stopped_run_is_saved_where_it_stands(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert run(tmp_path, 5, stop=stop).step == 0
    assert run(tmp_path, 2).step == 2


@pytest.mark.parametrize("kind", ["sample", "v_prediction", "epsilon"])
@pytest.mark.parametrize("weighting", ["uniform", "min_snr"])
def test_every_prediction_and_weighting_trains(tmp_path: Path, kind: str, weighting: str) -> None:
    process = Process(prediction_type=kind)  # type: ignore[arg-type]
    settings = replace(SETTINGS, process=process, weighting=weighting)  # type: ignore[arg-type]
    trainer = run(tmp_path, 2, settings)
    assert all(torch.isfinite(p).all() for p in trainer.averaged().values())


def test_rate_rises_stays_and_falls() -> None:
    settings = TrainingSettings(learning_rate=1.0, warmup_steps=10, decay_share=0.25)
    points = [(0, 0.0), (9, 0.1), (500, 0.75), (500, 0.875), (500, 1.0)]
    rates = [learning_rate(settings, step, share) for step, share in points]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.02])


def test_limit_takes_steps_or_time_whichever_is_nearer() -> None:
    assert Limit(steps=10).progress(5, 1e6) == 0.5
    assert Limit(seconds=100).progress(10**6, 25) == 0.25
    assert Limit(steps=10, seconds=100).progress(2, 90) == 0.9
    assert Limit(steps=10).progress(12, 0) == 1.0


def test_settings_from_before_there_were_choices_are_the_usual_ones() -> None:
    record = json.loads(json.dumps(asdict(SETTINGS)))
    for name in ("one_step", "precision"):
        del record[name]
    assert settings_of(record) == SETTINGS


def test_a_one_step_regression_sees_noise_alone(tmp_path: Path) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    for name, dataset in (("a", toy_dataset()), ("b", toy_dataset())):
        if name == "b":
            dataset = replace(dataset, images=255 - dataset.images)
        trainer, _ = open_run(tmp_path / name, dataset, replace(SETTINGS, one_step=True), CPU)
        trainer.networks.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[:2]))
        trainer.advance(1e-3)
    (noise, times), (other, _) = seen
    assert torch.equal(noise, other)
    assert set(times.tolist()) == {SETTINGS.process.num_train_timesteps - 1}
    assert 0.9 < float(noise.std()) < 1.1
