"""Takes OTLP over HTTP and throws it away: where telemetry goes while its cost is measured.

python -m benchmarks.sink PORT
"""

import sys

import uvicorn
from starlette.types import Receive, Scope, Send


async def sink(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 200 with nothing, which is OTLP's word for success."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/x-protobuf"), (b"content-length", b"0")],
        }
    )
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(sink, port=int(sys.argv[1]), log_level="warning", access_log=False, lifespan="off")
