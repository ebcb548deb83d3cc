"""A model loads in the minor version it was made with; the advice for another one can be followed."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from sightline_service.bundles.versions import LOWEST, advice, installed, minor_of, mismatch

HERE = version("scikit-learn")
MAJOR, MINOR = minor_of(HERE)


@pytest.mark.parametrize(
    ("made_with", "fits"),
    [
        ({"scikit-learn": HERE}, True),
        ({"scikit-learn": f"{MAJOR}.{MINOR}.99"}, True),
        ({"scikit-learn": f"{MAJOR}.{MINOR + 1}.0"}, False),
        ({}, False),
        ({"scikit-learn": HERE, "lightgbm": installed("lightgbm") or ""}, True),
        ({"scikit-learn": HERE, "lightgbm": "3.1.0"}, False),
        ({"scikit-learn": HERE, "xgboost": installed("xgboost") or ""}, True),
        ({"scikit-learn": HERE, "xgboost": "0.90"}, False),
    ],
)
def test_the_minor_version_decides(made_with: dict[str, str], *, fits: bool) -> None:
    """Another patch fits, another minor version does not; LightGBM and XGBoost count where the model needs them."""
    assert (mismatch(made_with) is None) == fits


def test_no_advice_names_a_version_that_is_not_allowed() -> None:
    """The lowest version of an advice is that of the requirement of sightline-service."""
    pyproject = Path(__file__).parents[3] / "service/pyproject.toml"
    dependencies = map(Requirement, tomllib.loads(pyproject.read_text())["project"]["dependencies"])
    (wanted,) = [each for each in dependencies if each.name == "scikit-learn"]
    major, minor = LOWEST["scikit-learn"]
    assert Version(f"{major}.{minor}.0") in wanted.specifier
    assert Version(f"{major}.{minor - 1}.99") not in wanted.specifier
    assert f"install 'scikit-learn=={major}.{minor}.*'" in advice("scikit-learn", f"{major}.{minor}.1")
    for made in (f"{major}.{minor - 1}.2", "", "unknown"):
        assert "install '" not in advice("scikit-learn", made)
