"""A checkpoint is whole whenever the process ends, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model_export.errors import CheckpointError
from model_export.training.checkpoint import NAME, Checkpoint, load_checkpoint, save_checkpoint
from model_export.training.train import stop_on_signals
from tests.model_export.training.test_training import run

TRAINING = """
import sys, threading
from pathlib import Path
import torch
from model_export.training.train import Limit, train
from tests.model_export.examples import SETTINGS, toy_dataset

torch.set_num_threads(1)
train(Path(sys.argv[1]), toy_dataset(), SETTINGS, Limit(steps=10**6), device=torch.device("cpu"),
      report=lambda p: print(p.step, flush=True), stop=threading.Event(), save_every_s=0.0)
"""


@pytest.mark.slow
def test_checkpoint_survives_kill(tmp_path: Path) -> None:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRAINING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "50"  # it saves after every step
        process.kill()
    assert process.returncode == -signal.SIGKILL
    step = load_checkpoint(tmp_path).step
    assert step >= 49
    assert run(tmp_path, step + 1).step == step + 1


def test_sigterm_saves_where_the_run_stands(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)
        trainer = run(tmp_path, 10**6, stop=stop)
    assert load_checkpoint(tmp_path).step == trainer.step == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_checkpoint_holds_what_was_saved(tmp_path: Path) -> None:
    checkpoint = Checkpoint(3, 1.5, {"a": [1]}, "data", {"ema.x": torch.arange(3.0)})
    save_checkpoint(tmp_path, checkpoint)
    loaded = load_checkpoint(tmp_path)
    assert (loaded.step, loaded.elapsed_s, loaded.settings) == (3, 1.5, {"a": [1]})
    assert torch.equal(loaded.part("ema")["x"], torch.arange(3.0))


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\x08" + b"\0" * 20])
def test_broken_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(tmp_path)
