"""`sightline inspect` shows what is in a bundle, also where its model cannot be loaded; a broken bundle is refused."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sightline_service.bundles.bundle import MANIFEST, PROFILE, digest_of
from sightline_service.bundles.summary import summarize
from sightline_service.cli import cli
from sightline_service.errors import BundleError


@pytest.fixture
def copied(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle, to be broken."""
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


def test_a_bundle_is_described(small_bundle: Path) -> None:
    """Every feature has its kind, type, vocabulary and imputer; then come steps and the way rows are predicted."""
    done = CliRunner().invoke(cli, ["inspect", str(small_bundle)])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("small 7, made 20")
    assert lines.pop(1) == f"digest: {digest_of(small_bundle)}"
    assert "; checksums: as made" in lines[1]
    assert lines[3].startswith("task: binary, fitted on ")
    assert "classes: no, yes; with probabilities" in lines
    assert "  age: numeric float64, imputed by mean" in lines
    assert any(line.startswith("  city: categorical str, ") and "imputed by constant" in line for line in lines)
    assert any("plan: " in line and line.endswith("missing values are refused") for line in lines)
    assert "types to trust: none" in lines
    assert lines[-1] == "rows are predicted by the fast path: LogisticRegression folded into one term per input"


def test_a_model_of_another_version_is_described_and_not_loaded(copied: Path) -> None:
    """The line about the model says why it is not loaded; all else is shown."""
    manifest = json.loads((copied / MANIFEST).read_text())
    manifest["versions"]["scikit-learn"] = "1.4.2"
    (copied / MANIFEST).write_text(json.dumps(manifest))
    *_, last = summarize(copied)
    assert last.startswith("model: not loaded: it was made with scikit-learn 1.4.2, and ")


def test_a_broken_bundle_is_refused(copied: Path, tmp_path: Path) -> None:
    """A folder without a bundle, and a file that was altered, raise an error that names what to do."""
    with pytest.raises(BundleError, match="there is no bundle in"):
        list(summarize(tmp_path / "nothing"))
    (copied / PROFILE).write_text("{}")
    with pytest.raises(BundleError, match=r"profile.json was altered .* make the bundle again"):
        list(summarize(copied))
