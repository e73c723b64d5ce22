"""The command line that both doors share."""

import argparse
from pathlib import Path


def arguments(text: str) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--data", type=Path, default=Path("door"), help="a folder of this door's own"
    )
    return parser.parse_args()
