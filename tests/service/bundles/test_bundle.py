"""A bundle is written whole, read back the same, and refused with what to do when it does not fit."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from sightline_service.bundles.bundle import (
    MANIFEST,
    MODEL,
    PROFILE,
    SAMPLE,
    Bundle,
    digest_of,
    load_bundle,
    save_bundle,
)
from sightline_service.bundles.verification import tried_predictor
from sightline_service.errors import BundleError


@pytest.fixture
def copied(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle, to be broken."""
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


def edit_manifest(folder: Path, **changes: object) -> None:
    """Replaces some keys of the manifest."""
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_bundle_is_read_back_the_same(
    small_bundle: Path, small_model: Pipeline, small_data: tuple[pd.DataFrame, "pd.Series[str]"]
) -> None:
    """What is loaded predicts what the model predicted, under its name and version, with its profile."""
    bundle = load_bundle(small_bundle)
    data, labels = small_data
    assert (bundle.name, bundle.version) == ("small", "7")
    np.testing.assert_array_equal(bundle.model.predict_proba(data), small_model.predict_proba(data))
    assert bundle.profile.outcomes == ("no", "yes")
    assert bundle.profile.labels == (int((labels == "no").sum()), int((labels == "yes").sum()))
    assert bundle.profile.order == ("city", "age", "plan", "income")
    assert {f.name: f.missing for f in bundle.profile.features} == {"age": 75, "income": 0, "city": 30, "plan": 0}
    methods = {feature.name: feature.imputed_by for feature in bundle.profile.features}
    assert methods == {"age": "mean", "income": "mean", "city": "constant", "plan": None}


def test_what_the_model_takes_is_known(small_bundle: Path) -> None:
    """The profile knows which features the model takes missing, and which take unseen categories."""
    profile = load_bundle(small_bundle).profile
    assert {f.name: (f.accepts_missing, f.accepts_unseen) for f in profile.categorical} == {
        "city": (True, True),
        "plan": (False, False),
    }
    assert all(feature.accepts_missing for feature in profile.numeric)


def test_no_training_row_leaves(small_bundle: Path, small_data: tuple[pd.DataFrame, "pd.Series[str]"]) -> None:
    """Sample rows are drawn column by column: no numeric pair of theirs is a training row's."""
    data, _ = small_data
    trained = set(zip(data["age"], data["income"], strict=True))
    sample = load_bundle(small_bundle).sample
    assert len(sample) == 200
    assert not trained & {(row["age"], row["income"]) for row in sample}


@pytest.mark.parametrize("name", [MODEL, PROFILE])
def test_an_altered_file_is_refused(copied: Path, name: str) -> None:
    """A file that changed since the bundle was made is named, with what to do."""
    with (copied / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(BundleError, match=rf"{name} was altered.*make the bundle again"):
        load_bundle(copied)


@pytest.mark.parametrize("name", [MODEL, PROFILE, MANIFEST])
def test_a_missing_file_is_refused(copied: Path, name: str) -> None:
    """A bundle without one of its files says so; only a folder without a bundle is offered the demo's."""
    (copied / name).unlink()
    advice = "sightline train --out" if name == MANIFEST else f"has no {name}; make the bundle again"
    with pytest.raises(BundleError, match=advice):
        load_bundle(copied)


def test_another_scikit_learn_is_refused(copied: Path) -> None:
    """A bundle of another scikit-learn names both versions and what to install."""
    edit_manifest(copied, versions={"scikit-learn": "99.2.3"})
    with pytest.raises(BundleError, match=r"made with scikit-learn 99\.2\.3, .*install 'scikit-learn==99\.2\.\*'"):
        load_bundle(copied)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 99}'])
def test_a_broken_manifest_is_refused(copied: Path, text: str) -> None:
    """A manifest that is no manifest is refused with its path."""
    (copied / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=r"manifest.json"):
        load_bundle(copied)


@pytest.mark.parametrize("made_with", [1.5, None, ["1.5"]])
def test_a_version_that_is_no_text_is_refused(copied: Path, made_with: object) -> None:
    """A manifest whose version is not a string is refused with its path."""
    edit_manifest(copied, versions={"scikit-learn": made_with})
    with pytest.raises(BundleError, match=r"manifest.json is not a manifest"):
        load_bundle(copied)


@pytest.mark.parametrize("name", [PROFILE, SAMPLE])
@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"task": ', "[" * 100_000], ids=["", "{}", "[1]", "cut", "deep"])
def test_a_file_with_a_right_checksum_and_wrong_content_is_refused(copied: Path, name: str, text: str) -> None:
    """A profile or a sample of another shape is refused with its path, not with what reading it raised."""
    (copied / name).write_text(text)
    sha256 = {part: hashlib.sha256((copied / part).read_bytes()).hexdigest() for part in (MODEL, PROFILE, SAMPLE)}
    edit_manifest(copied, sha256=sha256)
    with pytest.raises(BundleError, match=rf"{name} .*make the bundle again"):
        load_bundle(copied)


def test_an_untrusted_type_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    """A model that holds a type outside the allow-list is refused, with the setting that would allow it."""
    bundle = load_bundle(small_bundle)
    model = Pipeline([("own", FunctionTransformer(shutil.which)), *bundle.model.steps])
    save_bundle(Bundle("own", "1", model, bundle.profile, bundle.sample), tmp_path / "own")
    with pytest.raises(BundleError, match=r"SIGHTLINE_TRUSTED_TYPES=shutil.which"):
        load_bundle(tmp_path / "own")


def test_an_older_bundle_is_replaced(copied: Path) -> None:
    """Saving over a bundle leaves the new one alone in its place, and nothing beside it."""
    bundle = load_bundle(copied)
    save_bundle(Bundle("newer", "8", bundle.model, bundle.profile, bundle.sample), copied)
    assert load_bundle(copied).version == "8"
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


def test_something_else_is_not_overwritten(small_bundle: Path, tmp_path: Path) -> None:
    """A folder that holds something else than a bundle is left alone."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="name another folder"):
        save_bundle(load_bundle(small_bundle), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_digest_allows_one_bundle(small_bundle: Path, copied: Path) -> None:
    """With the digest of its manifest a bundle is read; another one, whose checksums fit too, is refused."""
    digest = digest_of(small_bundle)
    assert digest.startswith("sha256:")
    assert load_bundle(small_bundle, digest=digest).name == "small"
    profile = copied / PROFILE
    profile.write_bytes(profile.read_bytes() + b" ")
    checksums = json.loads((copied / MANIFEST).read_text())["sha256"]
    edit_manifest(copied, sha256=checksums | {PROFILE: hashlib.sha256(profile.read_bytes()).hexdigest()})
    assert load_bundle(copied).name == "small"
    with pytest.raises(BundleError, match=f"only {digest} may be served"):
        load_bundle(copied, digest=digest)


def test_a_model_of_another_profile_is_refused(copied: Path) -> None:
    """A bundle whose model does not predict the sample rows says so in one sentence."""
    skops.io.dump(LogisticRegression().fit([[0.0], [1.0]], ["no", "yes"]), copied / MODEL)
    checksums = json.loads((copied / MANIFEST).read_text())["sha256"]
    edit_manifest(copied, sha256=checksums | {MODEL: hashlib.sha256((copied / MODEL).read_bytes()).hexdigest()})
    with pytest.raises(BundleError, match="does not predict its own sample rows"):
        tried_predictor(load_bundle(copied))
