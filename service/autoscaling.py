"""How many workers a model should have: Ray Serve's policy on the scaling signal.

Serve ships the classes of this module to its controller by value, so it holds no state of its own
and imports the rest of the policy by name.
"""

from math import ceil
from typing import Any

from jobs.scaling import ScalingSignal
from service.backlog_watch import BacklogWatch


def workers_wanted(signal: ScalingSignal, target_s: float, running: int) -> int:
    """Return how many workers end the model's work in ``target_s``.

    A worker that would only be ready once those that run have done all of it is not started.
    """
    wanted = ceil(signal.backlog_s / target_s)
    if wanted > running > 0 and signal.backlog_s / running <= signal.cold_start_s:
        return running
    return wanted


class BacklogPolicy:
    """Serve's autoscaling policy: it is called several times a second and never waits.

    Serve itself applies the delays and the least and greatest number of replicas.
    """

    def __init__(self, model: str, target_s: float) -> None:
        self._watch = BacklogWatch(model)
        self._target_s = target_s

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        """Return the number of workers wanted; as many as now while the store does not answer."""
        seen = self._watch.latest()
        if seen is None:
            return ctx.target_num_replicas, {}
        if isinstance(seen, str):
            return 1, {}  # the door takes no job until a worker has announced the model
        return workers_wanted(seen, self._target_s, ctx.current_num_replicas), {}
