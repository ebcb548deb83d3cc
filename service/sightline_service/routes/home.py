"""`GET /`: a page that says what this is and where to look."""

from html import escape
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from sightline_telemetry.model.model_id import ModelId

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{name} {version}</title>
<style>body {{ font: 16px/1.5 sans-serif; margin: 3em auto; max-width: 40em; padding: 0 1em }}</style>
</head>
<body>
<h1>{name} {version}</h1>
<p>This service predicts with a scikit-learn model, and is measured by Sightline.</p>
<ul>
<li><a href="docs">docs</a>: every route, with examples that work as they stand</li>
<li><a href="openapi.json">openapi.json</a>: the same for programs</li>
<li><a href="v2/models/{path}">v2/models/{name}</a>: the inputs and outputs of the model</li>
<li><a href="metrics">metrics</a>: all that is counted, for Prometheus</li>
<li><a href="readyz">readyz</a>: whether predictions are served</li>
</ul>
</body>
</html>
"""


def home_router(model: ModelId) -> APIRouter:
    """Makes the route of the page. Its links are relative, so they work behind a prefix."""
    router = APIRouter(tags=["health"])
    page = _PAGE.format(name=escape(model.name), version=escape(model.version), path=quote(model.name, safe=""))
    headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}

    @router.get("/", response_class=HTMLResponse)
    async def home() -> HTMLResponse:
        """What this is, and where to look."""
        return HTMLResponse(page, headers=headers)

    return router
