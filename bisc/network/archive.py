"""A checkpoint's archive looked through before torch opens it: its size, its form, and what its pickle asks for.

torch.load(weights_only=True) alone still fills the memory where a few bytes ask it to (a packed member, a
`bytearray(10**12)`), and reads old formats that earlier torch versions executed (CVE-2025-32434). A checkpoint of this
package needs none of that: it is a zip of unpacked members, and its pickle builds plain values and tensors.
"""

from __future__ import annotations

import pickletools
import zipfile
from typing import Any, BinaryIO, Final

MAX_BYTES: Final = 2 << 30
"""23 MB are the weights of base_features 32, 70 MB with Adam's state; 128 features have 16 times that."""
MAX_PICKLE_BYTES: Final = 16 << 20
"""The pickle of base_features 32 after 1000 epochs has a hundredth of it."""
PICKLE: Final = "/data.pkl"
DTYPES: Final = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Byte", "Char", "Bool")
GLOBALS: Final = frozenset(
    ["torch._utils _rebuild_tensor_v2", "collections OrderedDict", *(f"torch {dtype}Storage" for dtype in DTYPES)]
)
"""All that the pickle may name: how torch stores a tensor and its dictionary of hooks."""
OPCODES: Final = frozenset(
    [
        *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "SETITEM", "SETITEMS", "APPEND", "APPENDS"),
        *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWTRUE", "NEWFALSE"),
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    ]
)
"""What torch.save writes of plain values and tensors (pickle protocol 2)."""


class UnsafeArchive(Exception):
    """Why an archive is no checkpoint of this package, in words."""


def check_archive(file: BinaryIO) -> None:
    """Look through an archive, at the cost of its directory and its pickle; the position in `file` is kept.

    Raises:
        UnsafeArchive: If it is no zip, holds packed or doubled members, is larger than `MAX_BYTES`, or its pickle asks
            for more than plain values and tensors.
        Exception: Whatever zipfile and pickletools raise for damaged files.
    """
    start = file.tell()
    n_bytes = file.seek(0, 2) - start
    file.seek(start)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if n_bytes > MAX_BYTES or sum(member.file_size for member in members) > n_bytes:
            raise UnsafeArchive(f"its members are packed, or larger than {MAX_BYTES} bytes")
        if len({member.filename for member in members}) < len(members):
            raise UnsafeArchive("a member occurs twice")
        pickles = [m for m in members if m.filename.endswith(PICKLE)]
        if len(pickles) != 1 or pickles[0].compress_type != zipfile.ZIP_STORED:
            raise UnsafeArchive(f"{len(pickles)} pickles")
        if pickles[0].file_size > MAX_PICKLE_BYTES:
            raise UnsafeArchive(f"a pickle of {pickles[0].file_size} bytes")
        check_pickle(archive.read(pickles[0]))
    file.seek(start)


def check_pickle(data: bytes) -> None:
    """Look through a pickle's instructions; none is carried out.

    Raises:
        UnsafeArchive: At the first that plain values and tensors do not need.
    """
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in OPCODES:
            raise UnsafeArchive(f"its pickle uses {opcode.name}")
        if opcode.name == "GLOBAL" and argument not in GLOBALS:
            raise UnsafeArchive(f"its pickle asks for {argument}")


def check_plain(value: Any, is_tensor: type, max_depth: int = 12, max_values: int = 1_000_000) -> None:
    """Refuse values nested too deep (cycles among them) or too many: comparing and copying them would never end.

    Args:
        value: What was loaded.
        is_tensor: The class of tensors; they count as one value.
        max_depth: Containers within containers.
        max_values: Values altogether, a shared one as often as it occurs.

    Raises:
        UnsafeArchive: Saying which.
    """
    left = max_values
    level = [value]
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.keys()
                below += one.values()
            elif isinstance(one, list | tuple):
                below += one
            elif one is not None and not isinstance(one, str | bool | int | float | is_tensor):
                raise UnsafeArchive(f"a value of type {type(one).__name__}")
            if len(below) > left:
                raise UnsafeArchive(f"more than {max_values} values")
        if not below:
            return
        left -= len(below)
        level = below
    raise UnsafeArchive(f"values nested more than {max_depth} deep")
