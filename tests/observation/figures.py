"""Asking a Prometheus."""

import math
import time
from datetime import datetime
from typing import Any

import httpx


class Figures:
    """What a Prometheus has seen since a Unix time."""

    def __init__(self, url: str, since: float) -> None:
        self._url = url
        self._since = since

    def _ask(self, path: str, **parameters: object) -> Any:
        answer = httpx.get(
            f"{self._url}/api/v1/{path}",
            params={name: str(value) for name, value in parameters.items()},
            trust_env=False,
            timeout=60,
        )
        assert answer.status_code == 200, (parameters, answer.text)
        return answer.json()["data"]

    def over_time(self, expr: str) -> list[float]:
        """Return every value of an expression that is a number, of all series and times."""
        now = time.time()
        found = self._ask("query_range", query=expr, start=self._since, end=now, step=1)
        values = [float(v) for series in found["result"] for _, v in series["values"]]
        return [value for value in values if not math.isnan(value)]

    def evaluated_since(self, time_s: float) -> bool:
        """Return whether every group of rules was evaluated after that Unix time."""
        groups = self._ask("rules")["groups"]
        begun = [datetime.fromisoformat(group["lastEvaluation"]).timestamp() for group in groups]
        return min(begun) > time_s

    def names(self) -> set[str]:
        """Return the names of all series."""
        return set(self._ask("label/__name__/values"))

    def traces(self, expr: str) -> set[str]:
        """Return the trace ids that a histogram's exemplars carry."""
        now = time.time()
        found = self._ask("query_exemplars", query=expr, start=self._since, end=now)
        return {each["labels"]["trace_id"] for series in found for each in series["exemplars"]}
