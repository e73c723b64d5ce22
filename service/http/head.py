"""``HEAD``: what ``GET`` answers, without the body (RFC 9110, 9.3.2)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Head:
    """ASGI middleware that serves ``HEAD`` by the routes of ``GET``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; the body of a response to ``HEAD`` is dropped."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def bodiless(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        scope.setdefault("state", {})["head"] = True
        as_get = {**scope, "method": "GET"}
        try:
            await self._app(as_get, receive, bodiless)
        finally:
            if "route" in as_get:  # for the metrics
                scope["route"] = as_get["route"]


def is_head(scope: Scope) -> bool:
    """Return whether this request is a ``HEAD`` that is served as a ``GET``."""
    return bool(scope.get("state", {}).get("head"))
