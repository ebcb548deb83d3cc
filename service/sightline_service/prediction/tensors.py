"""Reads tensors of the Open Inference Protocol into columns, and writes them; as JSON or as binary data.

Sources: https://github.com/kserve/open-inference-protocol and, for binary data, KServe's binary tensor data extension
(after the JSON come the tensors, little-endian, one after the other; a string is its length in 4 bytes, then UTF-8).
"""

import re
import struct
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sightline_service.bodies.outline import WHOLE_BYTES, TooMuchError, outline
from sightline_service.bodies.unreadable import UNREADABLE, not_json
from sightline_service.errors import BadTensorError, BodyTooLargeError
from sightline_service.prediction.columns import ColumnBuilder, Columns
from sightline_service.prediction.instances import is_list_of_lists, max_values
from sightline_telemetry.model.histogram import Floats
from sightline_telemetry.model.profile import Feature, ReferenceProfile

STRINGS, BOOLEANS = "BYTES", "BOOL"
_NUMBERS = {
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (64, 32, 16)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (64, 32, 16, 8)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (64, 32, 16, 8)},
}
_BINARY = {**_NUMBERS, BOOLEANS: np.dtype("?")}
_DATATYPES = {"str": STRINGS, "float64": "FP64", "float32": "FP32", "int64": "INT64", "bool": BOOLEANS}
_LENGTH = struct.Struct("<I")
_ELEMENT = re.compile(r" - at `\$\[(\d+)\](?:\[\d+\])?`")
_SHOWN_CHARS = 80

Skipped = msgspec.Raw | msgspec.UnsetType
"""A value of any kind that is never read: only whether it is there counts."""


class InputParameters(msgspec.Struct):
    """The parameters of an input that are read, or that would change its meaning; others are skipped."""

    binary_data_size: int | None = None
    shared_memory_region: Skipped = msgspec.UNSET


class OutputParameters(msgspec.Struct):
    """The parameters of a requested output."""

    binary_data: bool | None = None
    classification: Skipped = msgspec.UNSET
    shared_memory_region: Skipped = msgspec.UNSET


class RequestParameters(msgspec.Struct):
    """The parameters of a request."""

    binary_data_output: bool | None = None


class InputTensor(msgspec.Struct):
    """Describes one input; its data is in the JSON, or after it as binary data."""

    name: str
    datatype: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: InputParameters | None = None


class RequestedOutput(msgspec.Struct):
    """Names an output that the client wants."""

    name: str
    parameters: OutputParameters | None = None


class InferRequest(msgspec.Struct):
    """Holds the JSON of an inference request; fields outside the protocol are ignored."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: RequestParameters | None = None
    outputs: list[RequestedOutput] | None = None


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """Describes one output in the JSON of the response."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, int] | None = None


def datatype_of(feature: Feature) -> str:
    """Returns the datatype under which a feature is described; every kind of number is read as a number."""
    return _DATATYPES[feature.dtype]


def datatypes_read(feature: Feature) -> tuple[str, ...]:
    """Returns the datatypes in which the values of a feature may come."""
    known = (STRINGS,) if feature.dtype == "str" else tuple(_NUMBERS)
    return (BOOLEANS, *known) if feature.dtype == "bool" else known


class TensorReader:
    """Reads an inference request, one tensor per feature, into columns; built once, used for every request."""

    def __init__(self, profile: ReferenceProfile, columns: ColumnBuilder, max_rows: int) -> None:
        self._columns = columns
        self._max_rows = max_rows
        self._max_values = max_values(max_rows, len(profile.features))
        self._features = {feature.name: feature for feature in profile.features}
        self._datatypes = {feature.name: datatypes_read(feature) for feature in profile.features}
        self._numeric = [feature.name for feature in profile.numeric]
        self._categorical = [feature.name for feature in profile.categorical]
        self._decode = msgspec.json.Decoder(InferRequest).decode

    def read(self, body: bytes, json_bytes: int | None = None) -> tuple[Columns, InferRequest]:
        """Returns the columns of a body, and the rest of the request.

        json_bytes: length of the body's JSON, if binary data follows.
        Raises MalformedBodyError, or BadTensorError, which names the input.
        """
        if len(body) > WHOLE_BYTES:
            self._check_size(body[:json_bytes])
        view = memoryview(body)
        head, rest = (view, view[:0]) if json_bytes is None else (view[:json_bytes], view[json_bytes:])
        try:
            request = self._decode(head)
        except msgspec.ValidationError as error:
            raise BadTensorError(f"the body is no inference request: {error}") from error
        except UNREADABLE as error:
            raise not_json(error, head) from error
        tensors = self._named(request.inputs)
        n_rows = self._count_rows(request.inputs)
        binary = _binary_parts(request.inputs, rest, has_header=json_bytes is not None)
        numeric = np.empty((len(self._numeric), n_rows))
        for index, name in enumerate(self._numeric):
            numeric[index] = np.asarray(self._values(tensors[name], binary.get(name)), dtype=np.float64)
        raw = tuple(self._categories(tensors[name], binary.get(name)) for name in self._categorical)
        return self._columns.assemble(numeric, raw), request

    def _check_size(self, head: bytes) -> None:
        try:
            outline(head, self._max_values, self._max_values)
        except TooMuchError:
            raise BodyTooLargeError(
                f"the body has more values than {self._max_rows} rows have; send them in several requests"
            ) from None

    def _named(self, inputs: Sequence[InputTensor]) -> dict[str, InputTensor]:
        tensors: dict[str, InputTensor] = {}
        for tensor in inputs:
            if tensor.name not in self._features:
                raise _wrong(tensor.name, "the model has no such input")
            if tensor.name in tensors:
                raise _wrong(tensor.name, "it is there twice")
            tensors[tensor.name] = tensor
        for name in self._features:
            if name not in tensors:
                raise _wrong(name, "it is missing; send one tensor for every input of the model")
        return tensors

    def _count_rows(self, inputs: Sequence[InputTensor]) -> int:
        n_rows = None
        for tensor in inputs:
            if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]):
                raise _wrong(tensor.name, f"its shape is {tensor.shape[:8]}; send [rows] or [rows, 1]")
            rows = tensor.shape[0]
            if not 1 <= rows <= self._max_rows:
                raise _wrong(tensor.name, f"it has {rows} rows; send between 1 and {self._max_rows}")
            if n_rows is not None and rows != n_rows:
                raise _wrong(tensor.name, f"it has {rows} rows, and input {inputs[0].name!r} has {n_rows}")
            n_rows = rows
        return n_rows or 1  # a model without features gets one row

    def _values(self, tensor: InputTensor, binary: memoryview | None) -> list[Any] | NDArray[Any]:
        """Returns the elements of a tensor; missing ones are None in a list, NaN in an array."""
        feature = self._features[tensor.name]
        known = self._datatypes[tensor.name]
        if tensor.datatype not in known:
            raise _wrong(tensor.name, f"its datatype is {_shown(tensor.datatype)}; send {' or '.join(known)}")
        if binary is None:
            return _elements(tensor, is_nullable=feature.accepts_missing)
        if tensor.datatype == STRINGS:
            return _unpacked(tensor, binary)
        dtype = _BINARY[tensor.datatype]
        _check_length(tensor, len(binary), tensor.shape[0] * dtype.itemsize, "bytes of binary data")
        numbers = np.frombuffer(binary, dtype)
        _refuse_any(np.isinf(numbers), tensor, "infinite")
        if not feature.accepts_missing:
            _refuse_any(np.isnan(numbers), tensor, "NaN, and the model takes no missing value here")
        return numbers

    def _categories(self, tensor: InputTensor, binary: memoryview | None) -> list[Any]:
        values = self._values(tensor, binary)
        return values if isinstance(values, list) else [None if value != value else value for value in values.tolist()]


def _binary_parts(inputs: Sequence[InputTensor], rest: memoryview, *, has_header: bool) -> dict[str, memoryview]:
    """Returns the binary data of each input that has some."""
    parts: dict[str, memoryview] = {}
    start = 0
    for tensor in inputs:
        parameters = tensor.parameters
        if parameters is None:
            continue
        if parameters.shared_memory_region is not msgspec.UNSET:
            raise _wrong(tensor.name, "it is in shared memory, which is not supported; send its data")
        size = parameters.binary_data_size
        if size is None:
            continue
        if tensor.data is not msgspec.UNSET:
            raise _wrong(tensor.name, "it has both data and a binary_data_size; send one of them")
        if not has_header:
            raise _wrong(tensor.name, "it has a binary_data_size, but there is no Inference-Header-Content-Length")
        if not 0 <= size <= len(rest) - start:
            raise _wrong(tensor.name, f"its binary_data_size is {_shown(size)}; {len(rest) - start} bytes are left")
        parts[tensor.name] = rest[start : start + size]
        start += size
    if start < len(rest):
        raise BadTensorError(f"{len(rest) - start} bytes after the JSON belong to no input; give each binary_data_size")
    return parts


def _elements(tensor: InputTensor, *, is_nullable: bool) -> list[Any]:
    """Returns the elements of a tensor in JSON, flat; a tensor of shape [rows, 1] may be nested."""
    if not isinstance(tensor.data, msgspec.Raw):
        raise _wrong(tensor.name, "it has no data")
    nested = len(tensor.shape) == 2 and is_list_of_lists(tensor.data)
    try:
        elements: list[Any] = _decoder(tensor.datatype, is_nullable, nested).decode(tensor.data)
    except UNREADABLE as error:
        message = str(error)
        at = _ELEMENT.search(message)
        raise _wrong(tensor.name, _ELEMENT.sub("", message), int(at[1]) if at else None) from error
    _check_length(tensor, len(elements), prod(tensor.shape), "elements")
    return [element for (element,) in elements] if nested else elements


@cache
def _decoder(datatype: str, is_nullable: bool, nested: bool) -> "msgspec.json.Decoder[list[Any]]":
    element: Any = float
    if datatype == STRINGS:
        element = str
    elif datatype == BOOLEANS:
        element = bool
    elif (dtype := _NUMBERS[datatype]).kind != "f":
        limits = np.iinfo(dtype)
        highest = min(int(limits.max), 2**63 - 1)  # msgspec takes no higher bound
        element = Annotated[int, msgspec.Meta(ge=int(limits.min), le=highest)]
    if is_nullable:
        element = element | None
    if nested:
        element = Annotated[list[element], msgspec.Meta(min_length=1, max_length=1)]
    return msgspec.json.Decoder(list[element])


def _unpacked(tensor: InputTensor, binary: memoryview) -> list[str]:
    data, start = bytes(binary), 0
    strings: list[str] = []
    try:
        while start < len(data) and len(strings) <= tensor.shape[0]:
            (size,) = _LENGTH.unpack_from(data, start)
            start, end = start + _LENGTH.size, start + _LENGTH.size + size
            if end > len(data):
                raise _wrong(tensor.name, "longer than the binary data that is left", len(strings))
            strings.append(data[start:end].decode())
            start = end
    except (struct.error, UnicodeDecodeError) as error:
        raise _wrong(tensor.name, f"not a length of 4 bytes and UTF-8: {error}", len(strings)) from error
    _check_length(tensor, len(strings), tensor.shape[0], "elements")
    return strings


def output_tensor(name: str, values: Sequence[str] | Floats, *, is_binary: bool) -> tuple[OutputTensor, bytes]:
    """Returns an output as the JSON describes it, and its binary data, which is empty unless is_binary."""
    datatype, shape = ("FP64", list(values.shape)) if isinstance(values, np.ndarray) else (STRINGS, [len(values)])
    if not is_binary:
        data = values.ravel().tolist() if isinstance(values, np.ndarray) else list(values)
        return OutputTensor(name, datatype, shape, data), b""
    if isinstance(values, np.ndarray):
        binary = values.astype(_NUMBERS[datatype]).tobytes()
    else:
        encoded = [value.encode() for value in values]
        binary = b"".join(part for value in encoded for part in (_LENGTH.pack(len(value)), value))
    return OutputTensor(name, datatype, shape, parameters={"binary_data_size": len(binary)}), binary


def _refuse_any(is_wrong: NDArray[np.bool_], tensor: InputTensor, what: str) -> None:
    if is_wrong.any():
        raise _wrong(tensor.name, what, int(is_wrong.argmax()))


def _check_length(tensor: InputTensor, there: int, expected: int, what: str) -> None:
    if there != expected:
        raise _wrong(tensor.name, f"it has {there} {what}, and its shape {tensor.shape} wants {expected}")


def _wrong(name: str, what: str, element: int | None = None) -> BadTensorError:
    place = "" if element is None else f", element {element}"
    return BadTensorError(f"input {_shown(name)}{place}: {what}")


def _shown(value: object) -> str:
    return repr(value)[:_SHOWN_CHARS]
