"""The API's reference as a page: Swagger UI, with nothing from other hosts."""

from importlib.resources import as_file, files

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, Response

from service.http.problem import Refusal

router = APIRouter(include_in_schema=False)

FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Return the page; all addresses in it are relative, whatever path prefix a proxy adds."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Sfumato",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},  # a service of Swagger's that reads the API
    )


@router.get("/docs/{name}")
async def docs_file(name: str) -> Response:
    """Return a file of the page."""
    if name not in FILES:
        raise Refusal(404, "not_found", f"nothing found at /docs/{name}")
    with as_file(files("fastapi_offline") / "static" / name) as path:
        headers = {"cache-control": "public, max-age=3600"}
        return FileResponse(path, media_type=FILES[name], headers=headers)
