"""The end of a process that cannot do its work: its supervisor starts another one."""

import os
from typing import NoReturn

import structlog

log = structlog.get_logger()


def end_process(reason: str, error: BaseException | None = None, **details: object) -> NoReturn:
    """Log why and end the process at once, whatever its threads do."""
    log.critical(f"{reason}; the process ends", exc_info=error, **details)
    os._exit(os.EX_SOFTWARE)
