"""Write the dashboards: ``python -m deploy.grafana [DIR]``."""

import sys
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.engine import engine
from deploy.grafana.queue import queue
from deploy.grafana.service_levels import service_levels
from deploy.grafana.store import store
from deploy.grafana.workers import workers

FOLDER = Path(__file__).parent / "dashboards"


def files() -> dict[str, str]:
    """Return each dashboard's JSON by file name."""
    return {
        f"{make.__name__.replace('_', '-')}.json": text_of(make())
        for make in (service_levels, queue, engine, workers, store)
    }


def text_of(page: Dashboard) -> str:
    """Return a dashboard as JSON, with its panels numbered."""
    built = page.build()
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


def main() -> None:
    """Write the dashboards into a folder, by default the repository's."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
