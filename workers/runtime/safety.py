"""What a job's client is told of pictures that the model's safety checker flags."""

from jobs.schema import JobError, JobWarning, WarningCode
from workers.engine.messages import Finished


def content_filtered(report: Finished) -> JobError:
    """Return why a job fails of which a picture was flagged, where those are refused."""
    detail = f"the model's safety checker flagged picture {report.image}"
    return JobError(code="content_filtered", detail=detail)


def content_blurred() -> JobWarning:
    """Return what is said of a job of which a picture was flagged, where those are blurred."""
    return JobWarning(
        code=WarningCode.CONTENT_BLURRED,
        detail="the model's safety checker flagged at least one picture, which is blurred",
    )
