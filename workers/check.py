"""``python -m workers.check``: whether a worker can start here.

It loads the model that the settings name, evaluates it once and prints what would run it; with
``--provider`` it fails if this build of ONNX Runtime lacks that execution provider.
"""

import argparse
import sys

import onnxruntime

from diffusion.backends.onnx.session import PROVIDERS
from diffusion.errors import BundleError
from jobs.errors import StartError
from jobs.settings import read_environment
from jobs.telemetry.text import shown
from workers.app import set_up_logging
from workers.engine.calibrate import draw_once
from workers.loading import load, load_safety
from workers.settings import WorkerSettings


def main(arguments: list[str]) -> int:
    """Check and print; return 0 if a worker can start."""
    parser = argparse.ArgumentParser(prog="python -m workers.check", description=__doc__)
    parser.add_argument("--provider", choices=PROVIDERS, help="has to be in ONNX Runtime's build")
    chosen = parser.parse_args(arguments).provider
    available = onnxruntime.get_available_providers()
    print(f"ONNX Runtime {onnxruntime.__version__}: {', '.join(available)}")
    if chosen is not None and PROVIDERS[chosen] not in available:
        print(f"{PROVIDERS[chosen]} is missing; the extra worker-gpu brings it", file=sys.stderr)
        return 1
    try:
        for settings in read_environment(WorkerSettings).each:
            print(check(settings))
    except (BundleError, StartError) as error:
        print(shown(error), file=sys.stderr)
        return 1
    return 0


def check(settings: WorkerSettings) -> str:
    """Load the model and evaluate it once; return its name, its backend and its device.

    Raises:
        BundleError: a worker would refuse it, or it fails.
    """
    set_up_logging(settings)
    bundle = load(settings)
    load_safety(settings, bundle)
    draw_once(bundle)
    return f"{shown(bundle.info.name)}: {bundle.backbone.name} on {bundle.device}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
