"""What tests of all rooms share: two bundles, one of the real flights, one small."""

from pathlib import Path

import pytest

from service.demo.training import train


@pytest.fixture(scope="session")
def flights_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's bundle, trained once for all tests."""
    folder = tmp_path_factory.mktemp("flights") / "bundle"
    train(folder, lambda _: None)
    return folder
