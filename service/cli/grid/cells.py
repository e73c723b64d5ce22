"""The cells of a grid: one job each, submitted together and followed concurrently."""

from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console

from service.cli.grid.axes import Axis, Value
from service.cli.shared.background import canceled_on_interrupt, in_background, submitted
from service.client.client import Sfumato
from service.client.errors import ClientError
from service.client.views import JobView

FRAME_S = 0.2


@dataclass
class Cell:
    """A job of the grid, and its outcome."""

    x: Value
    y: Value
    request: dict[str, Any]
    job: JobView | None = None
    image: bytes | None = None
    error: ClientError | None = None

    @property
    def status(self) -> str:
        """How it ended: the job's status, ``refused``, or ``lost`` if the status is unknown."""
        if self.job is None:
            return "refused"
        return "lost" if self.error is not None else str(self.job.status)

    @property
    def note(self) -> str:
        """Why there is no image; empty if there is one."""
        if self.image is not None:
            return ""
        if self.error is not None:
            return str(self.error)
        failure = self.job.error if self.job is not None else None
        return failure.detail if failure is not None else self.status

    def submit(self, client: Sfumato, ids: list[str]) -> None:
        """Submit the job and add its id; a refusal is the cell's error."""
        try:
            self.job = submitted(client, ids, self.request)
        except ClientError as error:
            self.error = error

    def follow(self, client: Sfumato) -> None:
        """Wait for the job's end and fetch its image; a failure is the cell's error."""
        assert self.job is not None
        try:
            self.job = client.wait(self.job.id)
            if self.job.images:
                self.image = client.image(self.job.id)
        except ClientError as error:
            self.error = error


def cells_of(x: Axis, y: Axis, request: dict[str, Any]) -> list[Cell]:
    """Return the cells, row by row from the top."""
    return [
        Cell(column, row, y.applied(x.applied(request, column), row))
        for row in y.values
        for column in x.values
    ]


def draw_cells(client: Sfumato, cells: Sequence[Cell], console: Console) -> None:
    """Draw all cells; each records its own outcome. Ctrl-C cancels the jobs.

    Raises:
        ClientError: no job was accepted; this is the first refusal.
    """
    ids: list[str] = []
    with canceled_on_interrupt(client, ids):
        for cell in cells:
            cell.submit(client, ids)
        if not ids and (refusal := cells[0].error) is not None:
            raise refusal
        following = [in_background(partial(c.follow, client)) for c in cells if c.job is not None]
        with console.status("") as status:
            while any(not future.done() for future in following):
                ended = len(wait(following, FRAME_S).done)
                status.update(f"{ended} of {len(following)} cells")
        for future in following:
            future.result()
