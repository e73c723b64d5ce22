"""A notebook shows a job's previews while it waits, and then its images."""

import pytest

from jobs.redis.store import RedisStore
from jobs.store import Claim
from service.client.notebook import ignore, watching
from service.settings import ServiceSettings
from tests.service.cli.scripted_door import job
from tests.service.dialects.playing import drawing, png
from tests.service.served import served
from tests.service.worker import advance, finish

PROGRAM = """
from service.client import Sfumato
sfumato = Sfumato({url!r})
result = sfumato.generate("a <red> apple", timeout_s=60)
result
"""


@pytest.mark.full
async def test_previews_are_shown_while_a_notebook_waits(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    from tests.service.client.kernel import Watched  # slow to import

    async def work(held: Claim) -> None:
        for step in range(1, 10):
            await advance(store, held, step, preview=True)
        await finish(store, held, png())

    with served(settings) as (url, _):
        notebook = Watched(PROGRAM.format(url=url))
        async with drawing(store, work):
            await notebook.run()
    assert any('value="9" max="10"' in each for each in notebook.updates)
    assert any('<img src="data:image/png;base64,' in each for each in notebook.updates)
    assert all("a &lt;red&gt; apple" in each for each in notebook.updates)
    progress, result = notebook.cell.outputs
    assert "succeeded, step 10 of 10" in progress.data["text/html"]
    assert "<img" not in progress.data["text/html"]
    assert set(result.data) == {"text/plain", "image/png"}


def test_nothing_is_shown_outside_a_notebook() -> None:
    assert watching(job()) is ignore
