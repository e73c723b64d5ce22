"""The result of a scenario."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.benchmarks.figures import quantile


@dataclass
class Outcome:
    """Figures, and every promise that was broken; seconds unless a name says otherwise."""

    figures: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def expect(self, kept: bool, promise: str) -> None:
        """Note a promise that was not kept."""
        if not kept:
            self.broken.append(promise)

    def note(self, name: str, value: float) -> None:
        """Keep a figure."""
        self.figures[name] = round(value, 3)

    def spread(self, name: str, values: Sequence[float]) -> None:
        """Keep the median, the 99th percentile and the largest of some figures."""
        if values:
            for part, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
                self.note(f"{name}_{part}", quantile(values, share))
