"""Child processes that a command starts and watches."""
