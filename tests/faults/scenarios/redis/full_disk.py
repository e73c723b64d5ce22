"""The disk that Redis' AOF lies on is full."""

import resource
import signal

from jobs.settings import JobsSettings
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.scenarios.redis.outage import outage
from tests.faults.stage import Stage


def _endure() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit fails, as on a full disk


async def run(stage: Stage, *, full_s: float, lease_s: float) -> Outcome:
    """Redis refuses writes, the door says so with 503, and all goes on once there is room."""
    outcome = Outcome()
    server = stage.redis(prepare=_endure)
    settings = JobsSettings(redis_url=server.url, lease_s=lease_s)
    async with outage(stage, settings, outcome) as load:
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        written = max(path.stat().st_size for path in (server.folder / "appendonlydir").iterdir())
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (written, hard))
        await load.begins(full_s)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        await load.ends(outcome)
    await stage.written(server)  # Redis holds writes back while the disk is busy
    server.kill()
    server.start()
    again = Outcome()
    await audit(load.client, load.submitter.accepted, again)
    outcome.note("lost_after_restart", again.figures["lost"])
    outcome.expect(again.figures["lost"] == 0, "what was accepted is there after a restart")
    return outcome
