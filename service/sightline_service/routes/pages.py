"""Pages for people, which load nothing from any other host: `/`, and the interactive documentation at `/docs`.

The files of Swagger UI are those of the package `fastapi-offline`. All links are relative, so that a prefix at a proxy
does not break them.
"""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sightline_service.errors import NotFoundError

POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
DOCS_POLICY = f"{POLICY}; connect-src 'self'; img-src 'self' data:; script-src 'self'; style-src 'self' 'unsafe-inline'"
"""Swagger UI styles elements inline, and draws its icons from data in its style sheet."""

_DOCS = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The API of this service</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<div id="api"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/assets/start.js"></script>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null,
});
"""
_ROOT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Sightline</title>
<link rel="icon" href="data:,">
<h1>Sightline</h1>
<p>This service predicts with a scikit-learn model, and measures itself.</p>
<ul>
<li><a href="docs">docs</a>: the API, with an example that works as it stands</li>
<li><a href="openapi.json">openapi.json</a>: the API for programs</li>
<li><a href="metrics">metrics</a>: everything that is counted</li>
<li><a href="readyz">readyz</a>: whether predictions are served</li>
</ul>
</html>
"""
_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "start.js": "text/javascript"}


def page_routes() -> list[BaseRoute]:
    """Makes the routes of the pages; the document of the API does not list them."""
    return [Route("/", _root), Route("/docs", _docs), Route("/docs/assets/{name}", _asset)]


def _root(_: Request) -> Response:
    """Returns the page that describes the service and links to the rest."""
    return _answer(_ROOT, "text/html", POLICY)


def _docs(_: Request) -> Response:
    """Shows the API."""
    return _answer(_DOCS, "text/html", DOCS_POLICY)


def _asset(request: Request) -> Response:
    """Returns a file of the page of the API."""
    name: str = request.path_params["name"]
    if name not in _ASSETS:
        raise NotFoundError(f"there is no such file of /docs; there are {', '.join(_ASSETS)}")
    text = _START if name == "start.js" else (files("fastapi_offline") / "static" / name).read_text("utf-8")
    return _answer(text, _ASSETS[name], POLICY, {"cache-control": "private, max-age=3600"})


def _answer(text: str, media_type: str, policy: str, more: dict[str, str] | None = None) -> Response:
    headers = {"content-security-policy": policy, "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}
    return Response(text, media_type=media_type, headers=headers | (more or {}))
