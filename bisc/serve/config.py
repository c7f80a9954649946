"""The node's file: where it listens, whom it accepts, what it predicts by, where results go."""

from __future__ import annotations

import configparser
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, Literal, get_args

from bisc.core.choices import DICOM_EXTRAS, PHASES, DicomExtra, Phase
from bisc.core.errors import InputError

How = Literal["cstore", "stow"]
HOWS: Final[tuple[How, ...]] = get_args(How)
SEND: Final = "send "
AE_LENGTH: Final = 16
EXAMPLE: Final = """[node]
ae_title = BISC
folder = /var/lib/bisc

[accept]
SCANNER = 10.0.0.5

[send pacs]
how = cstore
ae_title = PACS
host = 10.0.0.9
port = 104

[predict]
model = /var/lib/bisc/model.zip
"""


@dataclass(frozen=True)
class Destination:
    """Where results go.

    Attributes:
        name: Of its section.
        how: By C-STORE, or by STOW-RS.
        ae_title: The called one, of C-STORE.
        host: Likewise.
        port: Likewise.
        url: The DICOMweb service's root, of STOW-RS.
        token_file: A file with a bearer token, of STOW-RS; read at each sending.
        tls: Whether C-STORE goes over TLS, with the node's own certificate.
    """

    name: str
    how: How
    ae_title: str = ""
    host: str = ""
    port: int = 0
    url: str = ""
    token_file: Path | None = None
    tls: bool = False


@dataclass(frozen=True)
class Tls:
    """Certificate, its key, and whose certificates are accepted; all PEM files."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True)
class NodeConfig:
    """All of the file.

    Attributes:
        folder: Of the queue.
        model: As `bisc_predict -m`, a .zip or a results folder.
        ae_title: The node's own.
        host: It listens here; the machine itself by default.
        port: For DICOM.
        status_port: For the status page, on the same host; 0: any that is free.
        quiet_s: A study without a new file for so long is complete.
        quota_gb: What the queue may take of the disk.
        max_associations: At a time; more are refused for the moment.
        watch: A folder whose entries are studies too; None: none.
        keep: A folder for masks and tables; None: only what is sent is kept.
        accept: AE title to the addresses (or networks) it may come from.
        destinations: Where results go.
        tls: None: none.
        extras: Written beside each SEG.
        labelmap: As `bisc_predict --labelmap`.
        deidentify: As `bisc_predict --deidentify`.
        phase: As `bisc_predict --phase`.
        device: As `bisc_predict --device`.
    """

    folder: Path
    model: Path
    ae_title: str = "BISC"
    host: str = "127.0.0.1"
    port: int = 11112
    status_port: int = 8042
    quiet_s: float = 20.0
    quota_gb: float = 50.0
    max_associations: int = 10
    watch: Path | None = None
    keep: Path | None = None
    accept: dict[str, tuple[str, ...]] = field(default_factory=dict)
    destinations: tuple[Destination, ...] = ()
    tls: Tls | None = None
    extras: tuple[DicomExtra, ...] = ()
    labelmap: bool = False
    deidentify: bool = False
    phase: Phase | None = None
    device: str | None = None

    def accepts(self, ae_title: str, address: str) -> bool:
        """Whether this AE title may call from this address."""
        allowed = self.accept.get(ae_title.strip(), ())
        return any(ip_address(address) in ip_network(one, strict=False) for one in allowed)


NODE: Final = (
    "folder", "ae_title", "host", "port", "status_port", "quiet_seconds", "quota_gb", "max_associations", "watch",
    "keep", "tls_certificate", "tls_key", "tls_authority",
)  # fmt: skip
PREDICT: Final = ("model", "also", "labelmap", "deidentify", "phase", "device")
DESTINATION: Final[dict[How, tuple[str, ...]]] = {
    "cstore": ("ae_title", "host", "port", "tls"),
    "stow": ("url", "token_file"),
}


def read_config(path: Path) -> NodeConfig:
    """Read and check the file.

    Raises:
        InputError: Naming the section and the key at fault.
    """
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # AE titles know capitals
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise InputError(path, f"cannot be read ({error})", "the node's file", "see docs/how-to/node.md") from error
    section = _Section(path, parser)
    for name in parser.sections():
        if name not in ("node", "accept", "predict") and not name.startswith(SEND):
            raise InputError(path, f"a section [{name}]", "[node], [accept], [predict] and [send NAME]")
    section.check("node", NODE)
    section.check("predict", PREDICT)
    here = path.absolute().parent
    tls = _tls(section, here)
    also = tuple(section.text("predict", "also", "").replace(",", " ").split())
    phase = section.text("predict", "phase", "") or None
    for value, known in [*((one, DICOM_EXTRAS) for one in also), (phase, (*PHASES, None))]:
        if value not in known:
            raise InputError(path, f"'{value}' in [predict]", " or ".join(str(k) for k in known if k))
    return NodeConfig(
        folder=here / section.text("node", "folder"),
        model=here / section.text("predict", "model"),
        ae_title=section.ae("node", "ae_title", "BISC"),
        host=section.text("node", "host", "127.0.0.1"),
        port=section.port("node", "port", 11112),
        status_port=section.port("node", "status_port", 8042),
        quiet_s=section.number("node", "quiet_seconds", 20.0),
        quota_gb=section.number("node", "quota_gb", 50.0),
        max_associations=int(section.number("node", "max_associations", 10)),
        watch=section.place("node", "watch", here),
        keep=section.place("node", "keep", here),
        accept=_accepted(path, parser),
        destinations=tuple(_destination(section, n, here, tls) for n in parser.sections() if n.startswith(SEND)),
        tls=tls,
        extras=also,  # type: ignore[arg-type]  # checked above
        labelmap=section.flag("predict", "labelmap"),
        deidentify=section.flag("predict", "deidentify"),
        phase=phase,  # type: ignore[arg-type]
        device=section.text("predict", "device", "") or None,
    )


class _Section:
    """Values of the file, each checked."""

    def __init__(self, path: Path, parser: configparser.ConfigParser) -> None:
        self.path, self.parser = path, parser

    def check(self, section: str, known: Sequence[str]) -> None:
        unknown = sorted(set(self.parser[section]) - set(known)) if section in self.parser else []
        if unknown:
            raise InputError(self.path, f"'{unknown[0]}' in [{section}]", f"one of {', '.join(sorted(known))}")

    def text(self, section: str, key: str, default: str | None = None) -> str:
        value = self.parser.get(section, key, fallback=default)
        if value is None:
            raise InputError(self.path, f"no '{key}' in [{section}]", "it must be given", "see docs/how-to/node.md")
        return value.strip()

    def ae(self, section: str, key: str, default: str | None = None) -> str:
        value = self.text(section, key, default)
        check_ae(self.path, value)
        return value

    def number(self, section: str, key: str, default: float) -> float:
        text = self.text(section, key, f"{default:g}")
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0.0 < value < 1e9:
            raise InputError(self.path, f"{key} = {text} in [{section}]", "a number above 0")
        return value

    def port(self, section: str, key: str, default: int) -> int:
        text = self.text(section, key, str(default))
        if not text.isdecimal() or int(text) > 65535:
            raise InputError(self.path, f"{key} = {text} in [{section}]", "0 to 65535")
        return int(text)

    def flag(self, section: str, key: str) -> bool:
        text = self.text(section, key, "no").lower()
        if text not in self.parser.BOOLEAN_STATES:
            raise InputError(self.path, f"{key} = {text} in [{section}]", "yes or no")
        return self.parser.BOOLEAN_STATES[text]

    def place(self, section: str, key: str, here: Path) -> Path | None:
        text = self.text(section, key, "")
        return here / text if text else None


def check_ae(path: Path, title: str) -> None:
    """Refuse what is no AE title (PS3.5, 6.2)."""
    if not 0 < len(title) <= AE_LENGTH or not title.isascii() or not title.isprintable() or "\\" in title:
        raise InputError(path, f"the AE title '{title}'", f"1 to {AE_LENGTH} plain characters")


def _accepted(path: Path, parser: configparser.ConfigParser) -> dict[str, tuple[str, ...]]:
    found = {}
    for title, addresses in parser["accept"].items() if "accept" in parser else []:
        check_ae(path, title)
        found[title] = tuple(addresses.replace(",", " ").split())
        for one in found[title]:
            try:
                ip_network(one, strict=False)
            except ValueError as error:
                raise InputError(path, f"{title} = {one} in [accept]", "an IP address or network") from error
    return found


def _destination(section: _Section, name: str, here: Path, tls: Tls | None) -> Destination:
    how = section.text(name, "how")
    if how not in HOWS:
        raise InputError(section.path, f"how = {how} in [{name}]", " or ".join(HOWS))
    section.check(name, ("how", *DESTINATION[how]))  # a 'tls' that means nothing would be trusted
    told = name.removeprefix(SEND).strip()
    if how == "cstore":
        over_tls = section.flag(name, "tls")
        if over_tls and tls is None:
            keys = "tls_certificate, tls_key and tls_authority in [node]"
            raise InputError(section.path, f"tls = yes in [{name}], and the node has no certificate", keys)
        return Destination(
            told,
            "cstore",
            ae_title=section.ae(name, "ae_title"),
            host=section.text(name, "host"),
            port=section.port(name, "port", 104),
            tls=over_tls,
        )
    url = section.text(name, "url")
    if not url.startswith(("http://", "https://")):
        raise InputError(section.path, f"url = {url} in [{name}]", "http:// or https://")
    return Destination(told, "stow", url=url, token_file=section.place(name, "token_file", here))


def _tls(section: _Section, here: Path) -> Tls | None:
    paths = [section.place("node", key, here) for key in ("tls_certificate", "tls_key", "tls_authority")]
    if not any(paths):
        return None
    missing = [p for p in paths if p is None or not p.is_file()]
    if missing:
        raise InputError(section.path, "TLS without all of its files", "tls_certificate, tls_key and tls_authority")
    certificate, key, authority = paths
    assert certificate is not None and key is not None and authority is not None
    return Tls(certificate, key, authority)
