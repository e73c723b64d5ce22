"""The errors of starting the whole service on one machine."""


class StackError(RuntimeError):
    """The stack cannot be started as asked."""
