"""Redis keys that only doors may read: API keys, signing secrets, request counts."""

from jobs.settings import JobsSettings


def door_key(settings: JobsSettings, *parts: str) -> str:
    """Return a Redis key of the doors; the workers' Redis user has no access to any of them."""
    return ":".join((f"{{{settings.key_prefix}}}.door", *parts))
