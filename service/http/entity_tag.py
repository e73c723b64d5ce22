"""Entity tags: how a client learns that the copy it has is current (RFC 9110, 8.8.3)."""


def entity_tag(sha256: str) -> str:
    """Return the strong entity tag of bytes with this hash."""
    return f'"{sha256[:32]}"'


def matches(if_none_match: str, tag: str) -> bool:
    """Return whether the header lists this tag (weak comparison, RFC 9110)."""
    offered = (each.strip().removeprefix("W/") for each in if_none_match.split(","))
    return any(each in ("*", tag) for each in offered)
