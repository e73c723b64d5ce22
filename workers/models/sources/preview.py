"""Refuses a model by its configuration, before its weights are downloaded."""

import re
from collections.abc import Sequence
from pathlib import Path

from diffusion.errors import BundleError
from jobs.settings import read_environment


def refuse_by_configuration(folder: Path, awaited: Sequence[str]) -> None:
    """Load a model without its weights as far as that goes.

    Raises:
        BundleError: something but the weights that are still to come is wrong with it.
    """
    from diffusion.bundle.bundle import load_bundle  # only here: torch takes its time
    from workers.app import set_up_logging
    from workers.settings import WorkerSettings

    set_up_logging(read_environment(WorkerSettings))
    parts = {file.partition("/")[0] for file in awaited} | {"vae"}  # another one may be given
    try:
        load_bundle(folder)
    except BundleError as error:
        lacks = re.match(r"(\w+)/\S+ is missing", str(error))
        if lacks is None or lacks[1] not in parts:
            raise
