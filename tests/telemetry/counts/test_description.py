"""What a service counts travels as bytes, and its digest tells it from every other."""

from dataclasses import replace

from sightline_telemetry.counts.description import DescribedModel, Description
from sightline_telemetry.counts.series import SeriesTable
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.requests.request_kind import RequestKind
from tests.telemetry.serving import describe


def test_a_description_travels_as_bytes(model: DescribedModel, regression_model: DescribedModel) -> None:
    """What is read equals what was written, profiles included, and has the same digest and the same series."""
    other = replace(regression_model, id=ModelId("prices", "2"))
    written = describe(model, replace(model, id=ModelId("café \ud800", "1"), steps=()), other)
    read = Description.from_bytes(written.to_bytes())
    assert read == written
    assert read.digest == written.digest
    assert all(isinstance(kind, RequestKind) for kind in read.expected)
    assert SeriesTable(read).numbers == SeriesTable(written).numbers


def test_a_digest_is_of_one_description(model: DescribedModel, regression_model: DescribedModel) -> None:
    """Other models, versions, steps, routes, answers or places have another digest."""
    first = describe(model)
    others = [
        describe(),
        describe(regression_model),
        describe(replace(model, id=ModelId("m", "2"))),
        describe(replace(model, steps=("prepare",))),
        replace(first, routes=("/",)),
        replace(first, expected=first.expected[:1]),
        replace(first, fault_places=()),
    ]
    assert len({first.digest, *(each.digest for each in others)}) == 8


def test_rows_have_the_size_that_their_model_needs(
    model: DescribedModel, regression_model: DescribedModel, silent_model: DescribedModel
) -> None:
    """Eight bytes per number, four per code, four for an outcome, eight per probability or for a value."""
    assert model.row_layout.struct.size == 2 * 8 + 4 + 4 + 2 * 8
    assert silent_model.row_layout.struct.size == 2 * 8 + 4 + 4
    assert regression_model.row_layout.struct.size == 2 * 8 + 4 + 8
