"""What keys add to the document of the API: how a key is sent, where one is needed, and how requests are refused."""

from typing import Any

from sightline_service.errors import ForbiddenError, UnauthorizedError
from sightline_service.routes.problems import documented_problems
from sightline_service.routes.served_model import PREFIXES
from sightline_service.server.gate import OPEN, needed_scope

_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key, as `sightline key add` prints it."},
    "password": {"type": "http", "scheme": "basic", "description": "The key is the password of any user name."},
}
_REFUSALS = documented_problems(UnauthorizedError, ForbiddenError)


def document_keys(document: dict[str, Any]) -> None:
    """Adds keys to a document of OpenAPI; a second time changes nothing."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        schema = "ErrorOut" if path.startswith(PREFIXES) else "ProblemOut"
        media = "application/json" if schema == "ErrorOut" else "application/problem+json"
        content = {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
        for method, operation in operations.items():
            if needed_scope(method.upper(), path) != OPEN:
                operation["security"] = [{name: []} for name in _SCHEMES]
                for status, refusal in _REFUSALS.items():
                    answer = {"description": refusal["description"], "content": content}
                    operation["responses"][str(status)] = answer
