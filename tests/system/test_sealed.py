"""Sealed archives: any program opens them, and no byte of one changes unnoticed."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bisc.core.errors import InputError
from bisc.system import sealed as module
from bisc.system.sealed import DIGITS, MARK, read_sealed, sealed

MEMBERS = {"model.json": b'{"a": 1}', "fold_0/w.safetensors": bytes(range(40)), "empty": b""}


def read(path: Path, raw: bytes) -> dict[str, bytes] | None:
    path.write_bytes(raw)
    content = read_sealed(path, "model.json", "a model file")
    return None if content is None else dict(content.members)


def test_what_is_sealed_is_read_and_is_a_plain_zip(tmp_path: Path) -> None:
    """The same members give the same bytes; the digest that is told is that of the file."""
    raw = sealed(MEMBERS)
    assert raw == sealed(dict(MEMBERS))
    assert read(tmp_path / "a.zip", raw) == MEMBERS
    content = read_sealed(tmp_path / "a.zip", "model.json", "")
    assert content is not None
    assert content.sha256 == hashlib.sha256(raw).hexdigest()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None
        assert archive.comment == MARK + hashlib.sha256(raw[:-DIGITS]).hexdigest().encode()
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


def test_every_byte_counts(tmp_path: Path) -> None:
    """Local headers, names, data, directory, comment, digest: each byte of the file changed, in two ways."""
    raw = sealed(MEMBERS)
    for at in range(len(raw)):
        for change in (1 << at % 8, 0xFF):
            spoilt = bytearray(raw)
            spoilt[at] ^= change
            with pytest.raises(InputError) as caught:
                read(tmp_path / "a.zip", bytes(spoilt))
            assert len(str(caught.value)) < 1500


@given(st.binary(min_size=1, max_size=40), st.integers(0, 10**6), st.integers(0, 60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_other_bytes_for_some_are_no_sealed_archive(tmp_path: Path, put: bytes, at: int, out: int) -> None:
    """Put in, left out, put behind, put before."""
    raw = sealed(MEMBERS)
    at %= len(raw) + 1
    spoilt = raw[:at] + put + raw[at + out :]
    if spoilt == raw:
        return
    try:
        assert read(tmp_path / "a.zip", spoilt) is None  # so much is gone that it is another archive
        assert out and b"model.json" not in spoilt.rpartition(b"PK\1\2")[2] + spoilt[-2000:].split(MARK)[0]
    except InputError:
        pass


def test_where_the_damage_is_is_told(tmp_path: Path) -> None:
    raw = bytearray(sealed(MEMBERS))
    raw[raw.index(bytes(range(40))) + 5] ^= 1
    with pytest.raises(InputError, match=r"fold_0/w\.safetensors damaged: the SHA-256 of its bytes is [0-9a-f]{64}"):
        read(tmp_path / "a.zip", bytes(raw))
    raw = bytearray(sealed(MEMBERS))
    raw[-1:] = b"g"
    with pytest.raises(InputError, match=r"a\.zip: damaged: .*expected [0-9a-f]{63}g, as at its end"):
        read(tmp_path / "a.zip", bytes(raw))


def test_another_archive_is_none_and_a_huge_one_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("plan.json", "{}")
    assert read(tmp_path / "a.zip", buffer.getvalue()) is None
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="more than 10 bytes"):
        read(tmp_path / "a.zip", buffer.getvalue())
