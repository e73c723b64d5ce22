"""How much a worker holds, noted in its own pod, so that Kubernetes removes the least loaded first.

The note is the annotation ``controller.kubernetes.io/pod-deletion-cost``. Every write is a write to
the cluster's API server, so it says the load in five classes and is changed once in 20 s at most.
"""

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

import structlog

log = structlog.get_logger()
ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
CLASSES = 4
LOOK_S = 2.0
PAUSE_S = 20.0
"""Between two writes, and after one that failed."""
TIMEOUT_S = 10


def cost(used: int, slots: int) -> int:
    """Return 0 for an idle worker, else 1 to 4 by the quarter of its slots that are used."""
    return min(CLASSES, -(-CLASSES * used // slots))


@dataclass(frozen=True)
class Pod:
    """One pod and the way to its cluster's API, as a service account's files tell it."""

    name: str
    api: str = "https://kubernetes.default.svc"
    account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")

    def annotate(self, value: str) -> None:
        """Write the annotation.

        Raises:
            OSError: the API server is not there or refuses.
        """
        namespace = (self.account / "namespace").read_text().strip()
        token = (self.account / "token").read_text().strip()  # it is replaced every hour
        trusted = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(self.name)}"
        body = json.dumps({"metadata": {"annotations": {ANNOTATION: value}}}).encode()
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/merge-patch+json",
        }
        request = Request(self.api + path, body, headers, method="PATCH")
        with urlopen(request, timeout=TIMEOUT_S, context=trusted):  # nosec B310
            pass


async def keep_noted(pod: Pod, used: Callable[[], int], slots: int) -> None:
    """Note the load in the pod for ever; a note that cannot be written is tried again."""
    noted: int | None = None
    while True:
        now = cost(used(), slots)
        if now == noted:
            await asyncio.sleep(LOOK_S)
            continue
        try:
            await asyncio.to_thread(pod.annotate, str(now))
            noted = now
        except OSError as error:
            log.warning("deletion cost not noted", reason=str(error))
        await asyncio.sleep(PAUSE_S)
