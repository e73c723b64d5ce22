"""Programs that call a door through a client, each in a process of its own."""

import asyncio
import json
import subprocess
from typing import Any

from tests.needs import path_of

ADDRESS = "ADDRESS"
"""What a program writes for the door's address."""
INTERPRETERS = {"js": ("node", "--input-type=module", "-"), "python": ("python", "-")}
ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONWARNINGS": "ignore"}
"""All that a program is given: no key of this machine's user, and no proxy; litellm loads its
table of prices from its own files."""
TIMEOUT_S = 150
"""For one program: litellm takes seconds to be imported, and longer on a busy machine."""


async def printed(language: str, program: str, url: str) -> Any:
    """Return the value that a program prints as JSON in its last line. Raises: as ``output``."""
    return json.loads((await output(language, program, url)).splitlines()[-1])


async def output(language: str, program: str, url: str) -> str:
    """Return what a program prints.

    Raises:
        AssertionError: it failed; its output is shown.
        subprocess.TimeoutExpired: it took too long, and was killed.
    """
    folder = path_of("clients")
    name, *options = INTERPRETERS[language]
    outcome = await asyncio.to_thread(
        subprocess.run,
        [f"{folder}/bin/{name}", *options],
        input=program.replace(ADDRESS, url),
        cwd=folder,  # where Node looks for packages
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout
