"""What a key may do."""

from enum import StrEnum


class Scope(StrEnum):
    """A right that a key carries."""

    JOBS = "jobs"  # submit jobs; see, cancel and delete those of its tenant
    METRICS = "metrics"  # read figures: /metrics, workers, scaling
    OPERATOR = "operator"  # everything, over all tenants
