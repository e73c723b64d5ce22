"""``python -m tests.benchmarks [NAME…]``: run the benchmarks and write ``out/bench.json``."""

import json
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from statistics import median
from time import strftime
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from diffusion.bundle.bundle import Bundle, load_bundle
from jobs.telemetry.logs import configure
from tests.benchmarks import keda, lending, pools, scaling
from tests.benchmarks.doors import door
from tests.benchmarks.engine import comparison, efficiency, policy, side_work, threads, watching
from tests.benchmarks.own_redis import on_redis
from tests.benchmarks.store import fairness, redis_cost, store
from workers.engine.calibrate import calibrate, full_engine, ticks_s
from workers.ops.memory import keep_freed_memory
from workers.settings import DEFAULT_MODEL

OUT = Path("out/bench.json")


@lru_cache(maxsize=2)
def bundle(backend: str = "auto") -> Bundle:
    """Load the default model, on one thread."""
    keep_freed_memory()  # as a worker does
    torch.set_num_threads(1)
    return load_bundle(DEFAULT_MODEL, backend=backend)


def run_policy() -> dict[str, Any]:
    """Run the batcher in virtual time with this machine's cost of a tick."""
    engines = [full_engine(bundle(), rows) for rows in (2, 16)]
    few, many = (median([ticks_s(engine, 1) for _ in range(16)][1:]) for engine in engines)
    row = (many - few) / 14
    cost = policy.Cost(max(0.0, few - 2 * row), row)
    rows_per_tick = calibrate(bundle(), 32).rows_per_tick
    chosen = {f"seed_{seed}": policy.compare(cost, rows_per_tick, seed=seed) for seed in (1, 2, 3)}
    two = {f"seed_{seed}": policy.compare(cost, 2, seed=seed) for seed in (1, 2, 3)}
    tick = {"fixed_ms": round(1000 * cost.fixed, 2), "row_ms": round(1000 * cost.row, 2)}
    return {"tick": tick, "calibrated": chosen, "two_rows_per_tick": two}


BENCHMARKS: dict[str, Callable[[], dict[str, Any]]] = {
    "efficiency": lambda: efficiency.measure(bundle()),
    "efficiency_torch": lambda: efficiency.measure(bundle("torch")),
    "policy": run_policy,
    "comparison": lambda: comparison.measure(bundle()),
    "threads": threads.measure,
    "side_work": side_work.measure,
    "watching": lambda: on_redis(lambda url: watching.measure(url, bundle())),
    "keda": keda.measure,
    "pools": pools.measure,
    "lending": lending.measure,
    "store": lambda: on_redis(store.measure),
    "redis_cost": lambda: on_redis(redis_cost.measure),
    "fairness": lambda: on_redis(fairness.measure),
    "door_serve": lambda: door.measure("serve"),
    "door_uvicorn": lambda: door.measure("uvicorn"),
    "scaling": scaling.measure,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, all by default; figures of others in the file are kept."""
    configure("json", "ERROR")
    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    unknown = set(names) - BENCHMARKS.keys()
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; available: "
              f"{', '.join(BENCHMARKS)}", file=sys.stderr)  # fmt: skip
        return 2
    OUT.parent.mkdir(exist_ok=True)
    figures: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {}
    for name in names or BENCHMARKS:
        print(f"{name} …", flush=True)
        found = BENCHMARKS[name]() | {"measured": strftime("%Y-%m-%d")}
        figures[name] = found
        if "efficiency" in found:
            figures[name] = found.pop("efficiency")
            figures[f"{name}_detail"] = found
        OUT.write_text(json.dumps(figures, indent=1) + "\n")
        print(json.dumps(figures.get(f"{name}_detail", figures[name]), indent=1), flush=True)
    print(f"written to {OUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
