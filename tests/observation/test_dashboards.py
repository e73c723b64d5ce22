"""The dashboards' files: current, readable by the SDK's own models, laid out without overlap."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard, GridPos, Panel

from deploy.grafana.__main__ import FOLDER, files

FILES = sorted(FOLDER.glob("*.json"))


def overlap(a: GridPos, b: GridPos) -> bool:
    """Return whether two panels lie over each other."""
    return a.x < b.x + b.w and b.x < a.x + a.w and a.y < b.y + b.h and b.y < a.y + a.h


def test_files_are_what_the_generator_writes() -> None:
    written = {path.name: path.read_text() for path in FILES}
    assert written == files(), "run `make dashboards`"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_have_a_place_a_unit_and_words(path: Path) -> None:
    register_default_plugins()
    page = Dashboard.from_json(json.loads(path.read_text()))
    assert page.uid == f"sfumato-{path.stem}"
    panels = [panel for panel in page.panels or [] if isinstance(panel, Panel)]
    assert len(panels) == len(page.panels or [])
    assert len({panel.id_val for panel in panels}) == len(panels)
    places = [panel.grid_pos for panel in panels if panel.grid_pos is not None]
    assert len(places) == len(panels)
    assert all(place.x + place.w <= 24 for place in places)
    assert not any(overlap(a, b) for a, b in combinations(places, 2))
    for panel in panels:
        assert panel.title
        assert panel.description
        assert panel.targets
        assert panel.field_config is not None
        assert panel.field_config.defaults is not None
        assert panel.field_config.defaults.unit
