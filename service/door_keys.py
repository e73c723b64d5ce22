"""Where doors keep what no worker may read: API keys, signing secrets, counts of requests."""

from jobs.settings import JobsSettings


def door_key(settings: JobsSettings, *parts: str) -> str:
    """Return a key of the doors' own; a worker's Redis user has no right to any of them."""
    return ":".join((f"{{{settings.key_prefix}}}.door", *parts))
