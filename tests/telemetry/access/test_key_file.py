"""Keys: made once, verified by a salted hash, read again when their file changes."""

from base64 import b64encode
from pathlib import Path

import pytest

from sightline_telemetry.access.key_file import Key, KeyFile, make_key
from sightline_telemetry.access.watched_file import UnusableFileError


def bearer(key: str) -> bytes:
    """A header that brings a key."""
    return f"Bearer {key}".encode()


def name_of(key: Key | None) -> str | None:
    """The name of a key that was verified."""
    return None if key is None else key.name


@pytest.fixture
def made() -> tuple[str, str]:
    """A key and its line."""
    return make_key("billing", ["read", "predict"])


@pytest.fixture
def file(tmp_path: Path, made: tuple[str, str]) -> Path:
    """A file with one key and a comment."""
    path = tmp_path / "keys"
    path.write_text(f"# who may what\n\n{made[1]}")
    return path


def test_a_key_has_256_random_bits_behind_its_name(made: tuple[str, str]) -> None:
    """Two keys of one name differ, and their lines hold neither of them."""
    key, line = made
    other, other_line = make_key("billing", ["read"])
    prefix, name, secret = key.split("_")
    assert (prefix, name, len(bytes.fromhex(secret))) == ("sl", "billing", 32)
    assert key != other
    assert secret not in line
    assert line.split()[:2] == ["billing", "predict,read"]
    assert line.split()[2].split(":")[1] != other_line.split()[2].split(":")[1]


@pytest.mark.parametrize("name", ["", "a_b", "a b", "-a", "a" * 64, "ä", "a\n"])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    """A name has letters, digits, dots and hyphens only: it stands in a key, a line and a label."""
    with pytest.raises(ValueError, match=r"the name .* does not fit"):
        make_key(name, ["read"])


@pytest.mark.parametrize("scopes", [[], ["write"], ["read", "all"]])
def test_a_scope_that_does_not_exist_is_refused(scopes: list[str]) -> None:
    """The error names the scopes that there are."""
    with pytest.raises(ValueError, match="there are predict, feedback, read"):
        make_key("a", scopes)


def test_a_key_is_found_as_bearer_and_as_a_password(file: Path, made: tuple[str, str]) -> None:
    """The scheme's case and the user name do not matter."""
    keys, (key, _) = KeyFile(file), made
    basic = b64encode(f"anyone:{key}".encode())
    headers = (bearer(key), b"bEARER  " + key.encode(), b"Basic " + basic, b"basic " + basic)
    assert [name_of(keys.holder(header)) for header in headers] == ["billing"] * 4
    found = keys.holder(bearer(key))
    assert found is not None
    assert found.scopes == {"predict", "read"}


def test_what_is_no_key_of_the_file_finds_none(file: Path, made: tuple[str, str]) -> None:
    """Wrong secrets, names, schemes and encodings find no key."""
    keys, (key, _) = KeyFile(file), made
    changed = key[:-1] + ("0" if key[-1] != "0" else "1")
    elsewhere, _ = make_key("billing", ["read"])
    wrong = [bearer(each) for each in (changed, elsewhere, key[:-1], key + "0", key.upper(), "sl_billing_", "sl", "")]
    wrong += [key.encode(), b"Token " + key.encode(), b"Basic " + key.encode(), b"Basic ====", b"Bearer", b""]
    wrong += [bearer(key.replace("billing", "unknown")), b"Bearer " + b"a" * 100_000, b"Bearer \xff\xfe_\x00_"]
    assert [keys.holder(header) for header in (None, *wrong)] == [None] * (len(wrong) + 1)


def test_a_file_is_read_again_when_it_changes(file: Path, made: tuple[str, str]) -> None:
    """A new key is known and a removed one is not, without another start."""
    keys = KeyFile(file)
    key, line = make_key("other", ["feedback"])
    file.write_text(line)
    keys.look()
    assert name_of(keys.holder(bearer(key))) == "other"
    assert keys.holder(bearer(made[0])) is None
    assert keys.names == ("other",)


@pytest.mark.parametrize("text", ["billing predict nohash\n", None])
def test_a_file_that_breaks_later_changes_nothing(
    file: Path, made: tuple[str, str], text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys stay as they were, and the log says why, once."""
    keys = KeyFile(file)
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    keys.look()
    keys.look()
    assert name_of(keys.holder(bearer(made[0]))) == "billing"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "keys stay as they were" in caplog.text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("only two", "line 1: a name, scopes and a hash are expected"),
        ("a read sha256:00:11", "line 1: no name and hash"),
        ("a write {hash}", "line 1: the scopes are predict, feedback, read"),
        ("a read {hash}\na read {hash}", "line 2: there is a key a already"),
    ],
)
def test_a_bad_line_is_named_and_not_quoted(tmp_path: Path, line: str, reason: str, made: tuple[str, str]) -> None:
    """The error has the number of the line; its text may be a key by mistake."""
    path = tmp_path / "keys"
    path.write_text(line.format(hash=made[1].split()[2]))
    with pytest.raises(UnusableFileError, match=reason) as raised:
        KeyFile(path)
    assert line.split()[-1] not in str(raised.value)


@pytest.mark.parametrize(("mode", "is_refused"), [(0o600, False), (0o644, False), (0o664, False), (0o646, True)])
def test_a_file_that_others_may_write_is_refused(file: Path, mode: int, is_refused: bool) -> None:
    """Hashes may be read by all; who may write them could add a key."""
    file.chmod(mode)
    if is_refused:
        with pytest.raises(UnusableFileError, match="may be written by others: chmod o-w"):
            KeyFile(file)
    else:
        assert KeyFile(file).names == ("billing",)
