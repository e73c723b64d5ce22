"""What an API key permits."""

from enum import StrEnum


class Scope(StrEnum):
    """A permission of an API key."""

    JOBS = "jobs"  # submit jobs; read, cancel and delete those of its tenant
    METRICS = "metrics"  # read /metrics, workers and scaling
    OPERATOR = "operator"  # everything, over all tenants
