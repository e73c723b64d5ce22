"""How hard the parsers are tried: a little in the suite, much with ``make fuzz``."""

from datetime import timedelta

from hypothesis import HealthCheck, settings

_quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile(
    "short", max_examples=100, deadline=None, derandomize=True, database=None,
    suppress_health_check=_quiet,
)  # fmt: skip
settings.register_profile(
    "long", max_examples=20_000, deadline=timedelta(seconds=2), suppress_health_check=_quiet
)
settings.load_profile("short")  # what --hypothesis-profile names is loaded later and wins
