"""Jobs and models for tests of the contract, and the calls that most of them begin with."""

from jobs.catalogue import ModelEntry, SamplerEntry, resolve, units
from jobs.fleet import Batch, BatchChange, BatchImage, WorkerEntry
from jobs.schema import PUBLIC, ImageRecord, JobRequest, JobSpec
from jobs.store import Checkpoint, Claim, Created, FinishedImage, JobStore
from jobs.webhook import Webhook

EULER = SamplerEntry(
    name="euler",
    title="Euler",
    stochastic=False,
    order=1,
    rows_per_step=1,
    rows_offset=0,
    uses_eta=False,
    default_schedule="karras",
    schedules=("karras", "trailing"),
    max_steps=1000,
)
HEUN = EULER.model_copy(update={"name": "heun", "rows_per_step": 2, "rows_offset": -1})
MODEL = ModelEntry(
    name="toy",
    title="Toy",
    sha256="0" * 64,
    width=64,
    height=64,
    min_side=8,
    max_side=128,
    side_multiple=8,
    max_pixels=128 * 128,
    default_steps=10,
    default_sampler="euler",
    default_guidance_scale=1.0,
    prompt_syntaxes=("plain", "a1111", "a1111_mean"),
    samplers=(EULER, HEUN),
)

BATCH = Batch(
    worker="w",
    model="toy",
    at=1000.0,
    sequence=3,
    slots=4,
    rows_per_tick=8,
    tick=17,
    tick_s=0.25,
    rows=2,
    images=(BatchImage(0, "job", 1, 3, 10, 2, True, 64, 64, "euler"),),
    changes=tuple(BatchChange(n, "admitted", 0, f"job{n}", 0, 100.0 + n) for n in (1, 2, 3)),
    totals={"admitted": 3},
)


def spec(*, tenant: str = PUBLIC, **fields: object) -> JobSpec:
    """Return a spec of the toy model; ten units by default."""
    request = JobRequest.model_validate({"prompt": "a red apple", "seed": 7} | fields)
    return resolve(request, MODEL, tenant)


def work(of: JobSpec) -> float:
    """Return a spec's units."""
    return units(of, MODEL)


def checkpoint(row: int, image: int = 0) -> Checkpoint:
    """Return a checkpoint whose bytes are its row."""
    return Checkpoint(image, row, "toy:torch:table", (1, 1, 2, 2), bytes([row % 256]) * 16)


def picture(index: int = 0, data: bytes = b"picture") -> FinishedImage:
    """Return a finished image."""
    record = ImageRecord(
        index=index, seed=7, width=64, height=64, content_type="image/png", size_bytes=len(data)
    )
    return FinishedImage(record, data)


def worker(units_per_s: float, name: str = "w") -> WorkerEntry:
    """Return a live worker of the toy model with this speed."""
    return WorkerEntry(name, "h", 1, "toy", "torch", 16, 0, units_per_s, 0.0, units_per_s)


async def submit(
    store: JobStore,
    job_id: str,
    tenant: str = PUBLIC,
    *,
    cost: float | None = None,
    webhook: Webhook | None = None,
    **fields: object,
) -> Created:
    """Store a job, of ``cost`` units where they are given."""
    wanted = spec(tenant=tenant, **fields)
    return await store.create(
        job_id, wanted, work(wanted) if cost is None else cost, webhook=webhook
    )


async def claim(store: JobStore, worker: str = "w", *, idle: bool = True) -> Claim:
    """Claim the next job, which has to be there."""
    found = await store.claim("toy", worker, idle=idle)
    assert found is not None
    return found
