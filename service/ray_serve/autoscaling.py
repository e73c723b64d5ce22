"""The number of workers that a model should have, as an autoscaling policy of Ray Serve.

Serve sends the class to its controller by value, so this module has no state of its own and imports
the rest of the policy by name.
"""

from math import ceil
from typing import Any

from service.ray_serve.backlog_watch import BacklogWatch


class BacklogPolicy:
    """Serve's autoscaling policy, called several times a second; it never waits.

    Serve itself applies the delays and the minimum and maximum number of replicas.
    """

    def __init__(self, model: str, target_s: float) -> None:
        self._watch = BacklogWatch(model)
        self._target_s = target_s

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        """Return how many workers finish the backlog in time; no change if the store is away."""
        seen = self._watch.latest()
        if seen is None:
            return ctx.target_num_replicas, {}
        if not seen.announced:
            return 1, {}  # the door accepts no job until a worker has announced the model
        return ceil(seen.backlog_s / self._target_s), {}
