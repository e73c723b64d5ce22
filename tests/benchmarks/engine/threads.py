"""Threads: one worker of one or two threads, and two workers of one, in processes of their own."""

import json
import os
import subprocess
import sys
from statistics import median
from typing import Any

import torch

from diffusion.bundle.bundle import load_bundle
from tests.benchmarks.engine.turns import RawPasses
from workers.ops.memory import keep_freed_memory
from workers.settings import DEFAULT_MODEL

ROWS = (1, 8, 16)
SECONDS = 1.5
TURNS = 3
WAYS = {"one_of_1_thread": (1, 1), "one_of_2_threads": (1, 2), "two_of_1_thread": (2, 1)}


def _process(backend: str, threads: int, rows: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.engine.threads"]
    command += [backend, str(threads), str(rows)]
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _together(backend: str, workers: int, threads: int, rows: int) -> float:
    """Return the rows a second of all workers, measured over the same seconds."""
    processes = [_process(backend, threads, rows) for _ in range(workers)]
    for process in processes:  # each has loaded its model
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in processes)


def measure() -> dict[str, Any]:
    """Return rows a second by backend, rows and way, and each way over one worker of one thread."""
    found: dict[str, Any] = {}
    for backend in ("onnx", "torch"):
        for rows in ROWS:
            turns = [
                {way: _together(backend, *shape, rows) for way, shape in WAYS.items()}
                for _ in range(TURNS)
            ]
            speeds = {way: round(median([turn[way] for turn in turns]), 1) for way in WAYS}
            ratios = {
                way: round(median([turn[way] / turn["one_of_1_thread"] for turn in turns]), 2)
                for way in WAYS
            }
            found[f"{backend}_{rows}"] = {"rows_per_s": speeds, "ratio": ratios}
            print(f"  {backend}, {rows} rows: {json.dumps(ratios)}", flush=True)
    return found


def _main(backend: str, threads: int, rows: int) -> None:
    keep_freed_memory()
    torch.set_num_threads(threads)
    bundle = load_bundle(DEFAULT_MODEL, backend=backend)
    passes = RawPasses(bundle, rows)
    passes.rows_per_second(0.3)
    print("ready", flush=True)
    sys.stdin.readline()
    print(passes.rows_per_second(SECONDS))


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
