"""A stack for each module of tests: what one module sends, another never counts."""

from collections.abc import Iterator

import pytest

from tests.stack.processes import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The running stack, with its logs and data in a temporary folder."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
