"""The node's file: every value checked, every fault named."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisc.core.errors import InputError
from bisc.serve.config import EXAMPLE, read_config

FULL = """
[node]
ae_title = KIDNEY
folder = queue
host = 0.0.0.0
port = 4242
status_port = 0
quiet_seconds = 2.5
quota_gb = 1
max_associations = 3
watch = in
keep = out

[accept]
SCANNER = 10.0.0.5
PACS = 10.1.0.0/16, ::1

[send pacs]
how = cstore
ae_title = PACS
host = 10.1.0.9
port = 11112

[send archive]
how = stow
url = http://127.0.0.1:8042/dicom-web
token_file = token

[predict]
model = m.zip
also = sr, capture
labelmap = yes
phase = late
device = cpu
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.ini"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_is_whole(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, EXAMPLE))
    assert (config.host, config.port, config.status_port) == ("127.0.0.1", 11112, 8042)
    assert [d.name for d in config.destinations] == ["pacs"]


def test_every_value_is_read(tmp_path: Path) -> None:
    """Paths are relative to the file."""
    config = read_config(written(tmp_path, FULL))
    assert (config.ae_title, config.folder, config.watch) == ("KIDNEY", tmp_path / "queue", tmp_path / "in")
    assert (config.quiet_s, config.quota_gb, config.max_associations, config.phase) == (2.5, 1.0, 3, "late")
    assert (config.extras, config.labelmap, config.deidentify) == (("sr", "capture"), True, False)
    pacs, archive = config.destinations
    assert (pacs.how, pacs.ae_title, pacs.host, pacs.port) == ("cstore", "PACS", "10.1.0.9", 11112)
    assert (archive.how, archive.url, archive.token_file) == (
        "stow", "http://127.0.0.1:8042/dicom-web", tmp_path / "token",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("title", "address", "accepted"),
    [
        ("SCANNER", "10.0.0.5", True), ("SCANNER ", "10.0.0.5", True), ("SCANNER", "10.0.0.6", False),
        ("PACS", "10.1.200.3", True), ("PACS", "::1", True), ("scanner", "10.0.0.5", False), ("X", "10.0.0.5", False),
    ],
)  # fmt: skip
def test_who_is_accepted(tmp_path: Path, title: str, address: str, accepted: bool) -> None:
    assert read_config(written(tmp_path, FULL)).accepts(title, address) is accepted


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[node]", "[nod]", r"a section \[nod\]"),
        ("folder = queue", "", "no 'folder' in"),
        ("port = 4242", "port = many", "port = many"),
        ("port = 4242", "port = 70000", "port = 70000"),
        ("quota_gb = 1", "quota_gb = 0", "quota_gb = 0"),
        ("quota_gb = 1", "quota = 1", "'quota' in"),
        ("SCANNER = 10.0.0.5", "SCANNER = scanner.local", "scanner.local"),
        ("SCANNER =", "A_TITLE_THAT_IS_TOO_LONG =", "the AE title"),
        ("how = cstore", "how = fax", "how = fax"),
        ("url = http:", "url = ftp:", "url = ftp:"),
        ("port = 11112", "port = 11112\ntls = yes", "tls = yes in .*no certificate"),
        ("token_file = token", "tls = yes", "'tls' in"),
        ("also = sr,", "also = pdf,", "'pdf' in"),
        ("phase = late", "phase = lunar", "'lunar' in"),
        ("labelmap = yes", "labelmap = perhaps", "labelmap = perhaps"),
        ("keep = out", "keep = out\ntls_key = k.pem", "TLS without all of its files"),
        ("[predict]", "[predict", "cannot be read"),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in FULL
    with pytest.raises(InputError, match=told):
        read_config(written(tmp_path, FULL.replace(old, new)))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "none.ini")
