"""The door as a Ray Serve application: ``serve run service.ray_serve.deployment:app``."""

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from jobs.redis.server import check_server
from jobs.settings import read_environment
from jobs.telemetry.logs import configure
from service.application import create_app
from service.settings import ServiceSettings

NAME = "sfumato"
MAX_ONGOING_REQUESTS = 10_000  # waiting and streaming clients count as ongoing
STOP_S = 3.0  # for requests in flight; a stream resumes at another replica


class Door:
    """The methods of a replica that Serve calls beside the HTTP requests it routes there."""

    app: FastAPI  # set by Serve's ingress

    async def close_streams(self) -> None:
        """End this replica's event streams and waits; clients reconnect to another replica."""
        self.app.state.door.close_streams()


def application() -> FastAPI:
    """Return a replica's application; Serve itself assigns request ids and returns them."""
    settings = read_environment(ServiceSettings)
    configure(settings.log_format, settings.log_level)
    check_server(settings)
    return create_app(settings, echo_id=False)


def close_streams(handle: DeploymentHandle) -> None:
    """End event streams and waits in all replicas: they would delay shutdown until its timeout."""
    handle.broadcast("close_streams").results(timeout_s=STOP_S)


def app(args: dict[str, Any] | None = None) -> Application:
    """Return the application; its replicas read the ``SFUMATO_*`` variables of their machine.

    ``args`` are the arguments that ``serve run`` passes to a builder: ``replicas=2``.
    """
    replicas = int((args or {}).get("replicas", read_environment(ServiceSettings).door_replicas))
    deployment = serve.deployment(
        num_replicas=replicas,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        graceful_shutdown_timeout_s=STOP_S,
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=5,
        ray_actor_options={"num_cpus": 0},
        logging_config=LoggingConfig(enable_access_log=False),  # the door writes its own
    )(serve.ingress(application)(Door))
    return deployment.bind()
