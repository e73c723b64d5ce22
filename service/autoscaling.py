"""How many workers a model should have: Ray Serve's policy on the scaling signal.

Serve ships the classes of this module to its controller by value, so it holds no state of its own
and imports the rest of the policy by name.
"""

from math import ceil
from typing import Any

from service.backlog_watch import BacklogWatch


class BacklogPolicy:
    """Serve's autoscaling policy: it is called several times a second and never waits.

    Serve itself applies the delays and the least and greatest number of replicas.
    """

    def __init__(self, model: str, target_s: float) -> None:
        self._watch = BacklogWatch(model)
        self._target_s = target_s

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        """Return how many workers end the work in the target; as now while the store is away."""
        seen = self._watch.latest()
        if seen is None:
            return ctx.target_num_replicas, {}
        if isinstance(seen, str):
            return 1, {}  # the door takes no job until a worker has announced the model
        return ceil(seen.backlog_s / self._target_s), {}
