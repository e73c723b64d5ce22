"""Job ids: made by the door, and checked before they reach the store."""

import re
import uuid
from typing import Annotated

import structlog
from fastapi import Depends, Path

from jobs.errors import JobNotFound

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
_ID = re.compile(ID_PATTERN)


def new_job_id() -> str:
    """Return an id that cannot be guessed."""
    return uuid.uuid4().hex


async def path_job_id(
    job_id: Annotated[str, Path(description="A job's id, as returned by `POST /v1/jobs`.")],
) -> str:
    """Return the id in the path and add it to the request's further log lines.

    Raises:
        JobNotFound: this cannot be an id.
    """
    if not _ID.fullmatch(job_id):
        raise JobNotFound(job_id)
    structlog.contextvars.bind_contextvars(job_id=job_id)
    return job_id


JobId = Annotated[str, Depends(path_job_id)]
