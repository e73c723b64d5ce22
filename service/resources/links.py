"""The URLs in a job's JSON, and what its worker is called there."""

import time
from dataclasses import dataclass, replace

from service.resources.signing import LinkScope, Signer


@dataclass(frozen=True)
class Links:
    """Makes a job's links: below ``public_url`` if there is one, signed if keys are required."""

    public_url: str = ""  # without a trailing slash; empty: paths on this host
    signer: Signer | None = None
    latest: int | None = None  # no link is valid after it, seconds since 1970
    names_workers: bool = False  # else an alias, if keys are required

    def ending_by(self, latest: int | None) -> "Links":
        """Return links that expire by then: links reached through a link must not outlive it."""
        return replace(self, latest=latest)

    def naming_workers(self) -> "Links":
        """Return links for an operator, who may know hosts and processes."""
        return replace(self, names_workers=True)

    def worker(self, name: str | None) -> str | None:
        """Return what a worker is called: an alias tells it from others, and nothing else."""
        if name is None or self.signer is None or self.names_workers:
            return name
        return self.signer.alias(name)

    def image(self, job_id: str, index: int) -> str:
        """Return the link to a finished image."""
        return self._link(job_id, LinkScope.IMAGES, f"/{index}")

    def preview(self, job_id: str) -> str:
        """Return the link to the latest preview."""
        return self._link(job_id, LinkScope.PREVIEW)

    def events(self, job_id: str) -> str:
        """Return the link to the job's events."""
        return self._link(job_id, LinkScope.EVENTS)

    def stream(self, job_id: str) -> str:
        """Return the link to the job's events in Replicate's format."""
        return self._link(job_id, LinkScope.EVENTS, "/replicate")

    def _link(self, job_id: str, scope: LinkScope, tail: str = "") -> str:
        path = f"{self.public_url}/v1/jobs/{job_id}/{scope}{tail}"
        if self.signer is None:
            return path
        return f"{path}?{self.signer.query(job_id, scope, time.time(), self.latest)}"
