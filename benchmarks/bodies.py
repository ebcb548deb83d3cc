"""The same flights as each server's own protocol writes them."""

from typing import Any

import msgspec

from benchmarks.load import post
from benchmarks.models import flight_rows
from benchmarks.servers import Server

N_REQUESTS = 256


def requests(server: Server, n_rows: int) -> list[bytes]:
    """Whole requests, each of some rows, different from one another."""
    rows = flight_rows()
    n_requests = min(N_REQUESTS, len(rows) // n_rows)
    write = _tensors if server.kind.name == "E-mlserver" else _instances
    parts = (rows[at * n_rows : (at + 1) * n_rows] for at in range(n_requests))
    return [post(server.kind.path, msgspec.json.encode(write(part)), server.port) for part in parts]


def _instances(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"instances": rows}


def _tensors(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The Open Inference Protocol; a number that is missing is null."""
    inputs = []
    for name, example in rows[0].items():
        values = [row[name] for row in rows]
        is_word = isinstance(example, str)
        tensor = {"name": name, "shape": [len(rows), 1], "datatype": "BYTES" if is_word else "FP64", "data": values}
        inputs.append(tensor | ({"parameters": {"content_type": "str"}} if is_word else {}))
    return {"parameters": {"content_type": "pd"}, "inputs": inputs}
