"""Workers in virtual time: the engine's own batcher, claims, draining and cold starts.

A worker holds so many images, its forward passes take ``fixed + row · rows``, it claims in the
store's order (interrupted jobs first, then age) and gives everything back, steps kept, when it is
removed. An autoscaler or a fixed number decides how many there are.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.benchmarks.engine.policy import Cost
from tests.scaling.kubernetes.autoscaler import Autoscaler
from tests.scaling.load import Order
from workers.engine.batcher import Batcher, Candidate


@dataclass(frozen=True)
class Kind:
    """The speed and size of a worker."""

    cost: Cost
    rows_per_tick: int
    slots: int = 16
    cold_start_s: float = 60.0
    drain_s: float = 2.0

    @property
    def units_per_s(self) -> float:
        """Rows a second with full forward passes."""
        return self.rows_per_tick / self.cost.tick(self.rows_per_tick)


@dataclass(frozen=True)
class Signal:
    """What an autoscaler can measure."""

    waiting_jobs: int  # what the doorbell's list holds
    units: float  # remaining work, queued and running
    units_per_s: float  # of one worker

    @property
    def backlog_s(self) -> float:
        """The scaling signal."""
        return self.units / self.units_per_s


def by_work(signal: Signal) -> float:
    """Measure remaining work in seconds of one worker."""
    return signal.backlog_s


def by_list_length(signal: Signal) -> float:
    """Measure the messages that no worker has taken yet."""
    return float(signal.waiting_jobs)


Measure = Callable[[Signal], float]


@dataclass
class Outcome:
    """The result of a run. Seconds."""

    latency: list[tuple[Order, float]] = field(default_factory=list)
    worker_s: float = 0.0
    drained: int = 0  # jobs given back by workers that were taken away
    starts: int = 0
    replicas: list[tuple[float, int]] = field(default_factory=list)

    def attainment(self, target_s: Callable[[Order], float]) -> float:
        """Return the share of requests that met their targets."""
        return sum(taken <= target_s(order) for order, taken in self.latency) / len(self.latency)


@dataclass
class Job:
    """A request on its way."""

    order: Order
    left: list[int]  # evaluations of each image


@dataclass(eq=False)
class Worker:
    """One worker process."""

    started_s: float
    batcher: Batcher
    ready: bool = False
    leaving: bool = False
    held: dict[int, tuple[Job, int, Candidate]] = field(default_factory=dict)
    inside: deque[tuple[Job, int]] = field(default_factory=deque)  # images without a slot yet
    ticking: Sequence[Candidate] = ()

    @property
    def rows_left(self) -> int:
        """Forward rows that its images have left."""
        return sum(candidate.work for _, _, candidate in self.held.values())


class Simulation:
    """One run over one load."""

    def __init__(self, load: Sequence[Order], kind: Kind) -> None:
        self._kind = kind
        self._clock = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._waiting: deque[Job] = deque()
        self._workers: deque[Worker] = deque()
        self._unended = len(load)
        self._units = 0.0
        self.outcome = Outcome()
        for order in load:
            self._at(order.at_s, lambda order=order: self._arrive(order))  # type: ignore[misc]

    def _at(self, at_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._numbers), call))

    def fixed(self, workers: int) -> Outcome:
        """Run with so many workers, ready from the start."""
        for _ in range(workers):
            self._start()
            self._workers[-1].ready = True
        return self._run()

    def scaled(self, autoscaler: Autoscaler, measure: Measure) -> Outcome:
        """Run with as many workers as the autoscaler asks for, until all are gone again."""

        def turn() -> None:
            signal = Signal(len(self._waiting), self._units, self._kind.units_per_s)
            now = len(self._live)
            wanted = autoscaler.turn(self._clock, now, lambda: measure(signal))
            for _ in range(wanted - now):
                self._start()
            for _ in range(now - wanted):
                self._take_away()
            if wanted != now:
                self.outcome.replicas.append((self._clock, wanted))
            if self._unended or self._live:
                self._at(autoscaler.due_s, turn)

        self._at(0.0, turn)
        return self._run()

    def _run(self) -> Outcome:
        while self._events:
            self._clock, _, call = heapq.heappop(self._events)
            call()
        end = self._clock
        self.outcome.worker_s += sum(end - worker.started_s for worker in self._workers)
        return self.outcome

    @property
    def _live(self) -> list[Worker]:
        return [worker for worker in self._workers if not worker.leaving]

    def _arrive(self, order: Order) -> None:
        self._waiting.append(Job(order, [order.steps] * order.images))
        self._units += order.units
        self._offer()

    def _offer(self) -> None:
        """Let workers take waiting jobs in turns, as a list's blocked readers are served."""
        for _ in range(len(self._workers)):
            worker = self._workers[0]
            self._workers.rotate(-1)
            if self._waiting and self._has_room(worker):
                self._claim(worker)
                self._begin(worker)
                if self._waiting:
                    self._offer()
                return

    def _has_room(self, worker: Worker) -> bool:
        full = len(worker.held) >= self._kind.slots or worker.inside
        return worker.ready and not worker.leaving and not full

    def _claim(self, worker: Worker) -> None:
        job = self._waiting.popleft()
        worker.inside.extend((job, i) for i, left in enumerate(job.left) if left)
        self._fill(worker)

    def _fill(self, worker: Worker) -> None:
        while worker.inside and len(worker.held) < self._kind.slots:
            job, image = worker.inside.popleft()
            key = next(self._numbers)
            candidate = Candidate(
                key, "shape", 1, worker.batcher.clock, job.order.passes, job.left[image]
            )
            worker.held[key] = (job, image, candidate)

    def _begin(self, worker: Worker) -> None:
        if worker.ticking or worker.leaving or not worker.held:
            return
        worker.ticking = worker.batcher.choose(c for _, _, c in worker.held.values())
        rows = sum(candidate.passes for candidate in worker.ticking)
        self._at(self._clock + self._kind.cost.tick(rows), lambda: self._ticked(worker))

    def _ticked(self, worker: Worker) -> None:
        worker.batcher.served(worker.ticking)
        for candidate in worker.ticking:
            job, image, _ = worker.held[candidate.key]  # type: ignore[index]
            job.left[image] -= 1
            self._units -= candidate.passes
            if candidate.remaining == 0:
                del worker.held[candidate.key]  # type: ignore[arg-type]
                if not any(job.left):
                    self._unended -= 1
                    self.outcome.latency.append((job.order, self._clock - job.order.at_s))
        worker.ticking = ()
        if worker.leaving:
            self._give_back(worker)
            return
        self._fill(worker)
        while self._waiting and self._has_room(worker):
            self._claim(worker)
        self._begin(worker)

    def _start(self) -> None:
        worker = Worker(self._clock, Batcher(self._kind.rows_per_tick))
        self._workers.append(worker)
        self.outcome.starts += 1
        self._at(self._clock + self._kind.cold_start_s, lambda: self._ready(worker))

    def _ready(self, worker: Worker) -> None:
        worker.ready = True
        self._offer()

    def _take_away(self) -> None:
        """Let one worker drain: one that has not started yet, else the least loaded."""
        worker = min(self._live, key=lambda w: (w.ready, w.rows_left))
        worker.leaving = True
        if not worker.ticking:
            self._give_back(worker)

    def _give_back(self, worker: Worker) -> None:
        jobs = [job for job, _, _ in worker.held.values()] + [job for job, _ in worker.inside]
        back = sorted({id(job): job for job in jobs}.values(), key=lambda job: job.order.at_s)
        self._waiting.extendleft(reversed(back))
        self.outcome.drained += len(back)
        worker.held.clear()
        worker.inside.clear()
        self._at(self._clock + (self._kind.drain_s if worker.ready else 0.0),
                 lambda: self._gone(worker))  # fmt: skip
        self._offer()

    def _gone(self, worker: Worker) -> None:
        self._workers.remove(worker)
        self.outcome.worker_s += self._clock - worker.started_s
