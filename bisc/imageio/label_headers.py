"""Names that a label map's own header gives its values: segments of 3D Slicer and labels of MITK in NRRD, the label
table that TotalSegmentator and Connectome Workbench write into a NIfTI extension."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from bisc.core.errors import InputError
from bisc.imageio.formats.nifti import extensions_of
from bisc.imageio.formats.text_headers import nrrd_head
from bisc.imageio.label_names import BACKGROUND, NAMES, OPTION, plain_name
from bisc.system.console import notice

MITK_GROUPS: Final = "org.mitk.multilabel.segmentation.labelgroups"
"""JSON: a list of groups (layers of their own), each with its `labels`, each with `name` and `value`."""
MITK_LABEL: Final = re.compile(r"org\.mitk\.label_([0-9]{1,6})_[0-9]{1,6}")
"""Before 2023: XML of one label, in a layer of this number."""
TABLE, ENTRY, KEY = "LabelTable", "Label", "Key"
"""Of Caret's XML: `<LabelTable><Label Key="2">kidney_right</Label>...`."""
Named = Sequence[tuple[str, object]]
"""Names and their values as they stand there."""


def names_in_header(path: Path) -> Named:
    """What a file's header calls its values; nothing where it names none. Of what cannot be read a notice tells.

    Raises:
        InputError: If its labels overlap, each layer with values of its own; or as `nrrd_head`.
    """
    name = path.name.lower()
    if not path.is_file():
        return ()
    if name.endswith(".nrrd"):
        pairs = nrrd_head(path).pairs
        slicer = _slicer(path, pairs)
        if slicer:
            return slicer
        found = _mitk(path, pairs)
    else:
        found = _caret(path) if name.endswith((".nii", ".nii.gz")) else ()
    odd = [value for _, value in found if not re.fullmatch(r"\s*[0-9]{1,9}\s*", str(value))]
    if odd:
        _tell_unread(path, f"its header names a label of the value {odd[0]}")
        return ()
    return found


def _slicer(path: Path, pairs: Mapping[str, str]) -> Named:
    segments: dict[int, dict[str, str]] = {}
    for key, value in pairs.items():
        match = re.fullmatch(r"Segment([0-9]{1,6})_(Name|LabelValue|Layer)", key)
        if match:
            segments.setdefault(int(match[1]), {})[match[2]] = value.strip()
    named = [segment for _, segment in sorted(segments.items()) if "Name" in segment]
    _check_layers(path, [s["Name"] for s in named], len({s.get("Layer", "0") for s in named}))
    return [(s["Name"], s.get("LabelValue")) for s in named]


def _mitk(path: Path, pairs: Mapping[str, str]) -> Named:
    layers: dict[object, list[tuple[str, object]]] = {}
    try:
        for key, text in pairs.items():
            if key == MITK_GROUPS:
                for number, group in enumerate(_json(text)):
                    labels = group.get("labels") or []
                    layers[number] = [(str(one["name"]), one.get("value")) for one in labels if one.get("name")]
            elif match := MITK_LABEL.fullmatch(key):
                entry = _xml(_unescaped(text).encode())
                name, value = (entry.find(f"property[@key='{what}']/*") for what in ("name", "value"))
                if name is not None and value is not None:
                    layers.setdefault(match[1], []).append((name.get("value", ""), value.get("value")))
    except (ElementTree.ParseError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        _tell_unread(path, f"MITK's labels in its header cannot be read ({type(error).__name__})")
        return ()
    named = [one for layer in layers.values() for one in layer if not _is_rest(*one)]
    _check_layers(path, [name for name, _ in named], sum(map(bool, layers.values())))
    return named


def _json(text: str) -> Any:
    try:
        return json.loads(_unescaped(text), strict=False)
    except ValueError:
        return json.loads(text, strict=False)  # not every writer escapes


def _unescaped(text: str) -> str:
    """Without the backslash that NRRD writes before a backslash and a line's end within a value."""
    return re.sub(r"\\([\\n])", lambda match: "\n" if match[1] == "n" else "\\", text)


def _xml(text: bytes) -> ElementTree.Element:
    """From the first tag to the last: some writers pad it with blanks or zeros."""
    if b"<!ENTITY" in text:
        raise ElementTree.ParseError("entities of its own")
    return ElementTree.fromstring(text[text.find(b"<") : text.rfind(b">") + 1])


def _check_layers(path: Path, names: Sequence[str], n_layers: int) -> None:
    if n_layers > 1:
        mend = "export it as a label map in which each voxel has one value"
        raise InputError(path, f"its segments ({', '.join(names)}) overlap in {n_layers} layers", "one layer", mend)


def _caret(path: Path) -> Named:
    """The first table of a NIfTI file's extensions, whatever their code: TotalSegmentator gives 0, Caret 30."""
    extensions, broken = extensions_of(path)
    if broken:
        _tell_unread(path, "the extensions of its header do not end where they say")
    for text in extensions:
        if TABLE.encode() not in text:
            continue
        try:
            table = next(_xml(text).iter(TABLE), ())
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            _tell_unread(path, f"the label table in its header is no XML ({error})")
            continue
        named = [("".join(one.itertext()).strip(), one.get(KEY)) for one in table if one.tag == ENTRY]
        return [(name, key) for name, key in named if name and not _is_rest(name, key)]
    return ()


def _is_rest(name: str, value: object) -> bool:
    """Whether an entry is that of 0, which Workbench calls "???" and MITK "Exterior"; not where it is a structure's."""
    return str(value).strip() == "0" and NAMES.get(plain_name(name), BACKGROUND) == BACKGROUND


def _tell_unread(path: Path, found: str) -> None:
    notice(path, found, f"passed over; if it names the labels, say what they mean with {OPTION}")
