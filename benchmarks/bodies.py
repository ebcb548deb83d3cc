"""The same flights as each server's own protocol writes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from benchmarks.load import post
from benchmarks.models import flight_rows
from benchmarks.servers import Server

N_REQUESTS = 256


def requests(server: Server, n_rows: int) -> list[bytes]:
    """Whole requests, each of some rows, different from one another."""
    rows = flight_rows()
    n_requests = min(N_REQUESTS, len(rows) // n_rows)
    write = tensors if server.kind.name == "E-mlserver" else instances
    parts = (rows[at * n_rows : (at + 1) * n_rows] for at in range(n_requests))
    return [post(server.kind.path, msgspec.json.encode(write(part)), server.port) for part in parts]


def instances(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One object per row."""
    return {"instances": rows}


def tensors(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The Open Inference Protocol; a number that is missing is null."""
    inputs = []
    for name, example in rows[0].items():
        values = [row[name] for row in rows]
        is_word = isinstance(example, str)
        tensor = {"name": name, "shape": [len(rows), 1], "datatype": "BYTES" if is_word else "FP64", "data": values}
        inputs.append(tensor | ({"parameters": {"content_type": "str"}} if is_word else {}))
    return {"parameters": {"content_type": "pd"}, "inputs": inputs}


@dataclass(frozen=True, slots=True)
class Body:
    """A body, and the headers that tell how to read it."""

    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def binary_tensors(rows: list[dict[str, Any]]) -> Body:
    """The Open Inference Protocol with numbers as binary data, in and out, and without ids; words stand in the JSON."""
    inputs, binary = [], []
    for name, example in rows[0].items():
        values = [row[name] for row in rows]
        tensor: dict[str, Any] = {"name": name, "shape": [len(rows)], "datatype": "BYTES", "data": values}
        if not isinstance(example, str):
            binary.append(np.array(values, dtype=np.float64).tobytes())
            tensor = {"name": name, "shape": [len(rows)], "datatype": "FP64"}
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        inputs.append(tensor)
    outputs = [{"name": "outcome"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    head = msgspec.json.encode({"inputs": inputs, "outputs": outputs})
    return Body(b"".join([head, *binary]), {"inference-header-content-length": str(len(head))})
