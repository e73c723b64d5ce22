"""A job's progress and previews in a notebook."""

import html
import sys
from collections.abc import Callable
from typing import Any

from .events import JobEvent, PreviewEvent
from .images import tag
from .views import JobView

Watch = Callable[[JobEvent], None]


def watching(job: JobView) -> Watch:
    """Return a function that shows a job's events in a notebook, and ignores them elsewhere."""
    ipython = sys.modules.get("IPython")  # always loaded in a notebook
    shell = None if ipython is None else ipython.get_ipython()
    return Progress(job).show if hasattr(shell, "kernel") else ignore


def ignore(_: JobEvent) -> None:
    """Show nothing."""


class Progress:
    """A line with a bar, and the latest preview of each image below it."""

    def __init__(self, job: JobView) -> None:
        from IPython.display import display

        self._job, self._step, self._total = job, job.progress.step, job.progress.total
        self._previews: dict[int, PreviewEvent] = {}
        self._handle = display(self, display_id=True)

    def show(self, event: JobEvent) -> None:
        """Show what has changed; after the result, only the line remains."""
        if event.kind == "progress":
            self._step, self._total = event.step, event.total
        elif event.kind == "preview":
            self._previews[event.image] = event
        else:
            self._job, self._step = event.job, event.job.progress.step
        if event.kind == "result":
            self._previews = {}
        self._handle.update(self)

    def __repr__(self) -> str:
        status, prompt = self._job.status, self._job.request.prompt
        return f"{prompt}: {status}, step {self._step} of {self._total}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        bar = f'<progress value="{self._step}" max="{self._total}"></progress>'
        images = [
            tag(each.data, each.content_type, f"step {each.step}")
            for _, each in sorted(self._previews.items())
        ]
        shown = "".join((bar, " ", html.escape(repr(self)), "<br>", *images))
        return {"text/plain": repr(self), "text/html": shown}
