"""The door as a Ray Serve application: ``serve run service.deployment:app``."""

from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig

from service import asgi

NAME = "sfumato"
MAX_ONGOING_REQUESTS = 10_000  # waiting and streaming clients count as ongoing
STOP_S = 3.0  # for requests in flight; a stream resumes at the next door


def app(args: dict[str, Any] | None = None) -> Application:
    """Return the application; its replicas read the ``SFUMATO_*`` variables of their machine.

    ``args`` is what ``serve run`` hands to a builder: ``replicas=2``.
    """
    replicas = int((args or {}).get("replicas", asgi.read_settings().door_replicas))
    deployment = serve.deployment(
        name="Door",
        num_replicas=replicas,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        graceful_shutdown_timeout_s=STOP_S,
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=5,
        ray_actor_options={"num_cpus": 0},
        logging_config=LoggingConfig(enable_access_log=False),  # the door writes its own
    )(serve.ingress(asgi.behind_serve)())
    return deployment.bind()
