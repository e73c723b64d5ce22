"""An open-loop load: jobs arrive as a Poisson process, however many are still waiting."""

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from itertools import count
from time import monotonic, sleep
from typing import Any

from service.cli.shared.background import LAST_CALLS_S, canceled_on_interrupt, in_background
from service.client.client import Sfumato
from service.client.errors import ClientError, ProblemError
from service.client.views import JobStatus

PER_CLIENT = 64  # jobs at once; each holds a connection of the client's pool


@dataclass
class Sample:
    """One job of the load; times are in seconds since it was due."""

    outcome: str = "lost"  # or its status, or the code of its refusal, or ``not_sent``
    refused: bool = False
    first_preview_s: float | None = None
    latency_s: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether its images were drawn."""
        return self.outcome == JobStatus.SUCCEEDED


def arrivals(
    rate: float, draw: random.Random, *, duration_s: float | None = None, jobs: int | None = None
) -> Iterator[float]:
    """Yield the times of a Poisson process with ``rate`` events per second, starting at 0.

    It ends after ``duration_s``, or after ``jobs`` events.
    """
    at = 0.0
    for number in count():
        at += draw.expovariate(rate)
        if number == jobs or (duration_s is not None and at > duration_s):
            return
        yield at


class Load:
    """An open-loop load: a job is sent when it is due, not when another has ended."""

    def __init__(
        self,
        clients: Sequence[Sfumato],
        request: dict[str, Any],
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Spread jobs with the same request over the clients; ``report`` gets status lines."""
        self._report = report
        self._clients = clients
        self._request = request
        self._open: set[str] = set()
        self._stopped = False
        self._sending: list[Future[None]] = []
        self.samples: list[Sample] = []
        self.elapsed_s = 0.0

    @property
    def in_flight(self) -> int:
        """How many jobs have been sent and have not ended."""
        return sum(not future.done() for future in self._sending)

    def run(self, times: Iterator[float]) -> None:
        """Send jobs at these times and wait for them to end. Ctrl-C cancels those in flight."""
        began = monotonic()
        try:
            with canceled_on_interrupt(self._clients[0], self._open):
                self._send_all(began, times)
        except KeyboardInterrupt:
            wait(self._sending, LAST_CALLS_S)
            raise
        finally:
            self.elapsed_s = monotonic() - began

    def _send_all(self, began: float, times: Iterator[float]) -> None:
        try:
            self._send(began, times)
            for future in self._sending:
                self._report(f"{self.in_flight} jobs in flight")
                future.result()
        except KeyboardInterrupt:
            self._stopped = True  # first: from now on a job that is being sent cancels itself
            raise

    def _send(self, began: float, times: Iterator[float]) -> None:
        for at in times:
            sleep(max(0.0, began + at - monotonic()))
            self._report(f"{len(self.samples)} jobs sent, {self.in_flight} in flight")
            sample = Sample()
            self.samples.append(sample)
            if self.in_flight >= PER_CLIENT * len(self._clients):
                sample.outcome = "not_sent"
                continue
            client = self._clients[len(self._sending) % len(self._clients)]
            self._sending.append(in_background(partial(self._job, client, sample, began + at)))

    def _job(self, client: Sfumato, sample: Sample, due: float) -> None:
        """Submit a job and follow it to its end."""
        try:
            job = client.submit(**self._request).view
            self._open.add(job.id)
            if self._stopped:
                client.cancel(job.id)
            self._follow(client, job.id, sample, due)
            self._open.discard(job.id)
        except ProblemError as error:
            sample.outcome, sample.refused = error.problem.code, True
        except ClientError:
            sample.outcome = "lost"

    def _follow(self, client: Sfumato, job_id: str, sample: Sample, due: float) -> None:
        for event in client.follow(job_id):
            if event.kind == "preview" and sample.first_preview_s is None:
                sample.first_preview_s = monotonic() - due
            elif event.kind == "result":
                sample.latency_s = monotonic() - due
                sample.outcome = str(event.job.status)
