"""The addresses in what the door says about a job."""

import time
from dataclasses import dataclass, replace

from service.signing import Signer, Thing


@dataclass(frozen=True)
class Links:
    """Makes a job's links: below ``public_url`` where there is one, signed where keys are asked."""

    public_url: str = ""  # without a slash at its end; empty: paths on this host
    signer: Signer | None = None
    latest: int | None = None  # no link is good after it, seconds since 1970

    def ending_by(self, latest: int | None) -> "Links":
        """Return links that end by then: what a link shows must not outlive it."""
        return replace(self, latest=latest)

    def image(self, job_id: str, index: int) -> str:
        """Return where a finished picture is."""
        return self._link(job_id, Thing.IMAGES, f"/{index}")

    def preview(self, job_id: str) -> str:
        """Return where the newest preview is."""
        return self._link(job_id, Thing.PREVIEW)

    def events(self, job_id: str) -> str:
        """Return where the job's events are."""
        return self._link(job_id, Thing.EVENTS)

    def _link(self, job_id: str, thing: Thing, tail: str = "") -> str:
        path = f"{self.public_url}/v1/jobs/{job_id}/{thing}{tail}"
        if self.signer is None:
            return path
        return f"{path}?{self.signer.query(job_id, thing, time.time(), self.latest)}"
