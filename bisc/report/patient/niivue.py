"""NiiVue, which draws the 3-D view: a pinned bundle of npm's, fetched once when the package is set up, never by a page.

    python -m bisc.report.patient.niivue

It lies beside the templates and goes into a wheel that is built there; git has its licence alone. Without it pages
have their pictures and slices, and say that the 3-D view is missing.
"""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import Final

from bisc.core.errors import WorkError
from bisc.system.files import write_bytes

VERSION: Final = "0.69.0"
URL: Final = f"https://registry.npmjs.org/@niivue/niivue/-/niivue-{VERSION}.tgz"
SHA512: Final = "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
"""Of the archive, as npm's lock files have it (integrity)."""
MEMBER: Final = "package/dist/niivue.umd.js"
SHA256: Final = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
"""Of the bundle itself: what a page embeds is what was tested."""
BUNDLE: Final = Path(__file__).with_name("templates") / "niivue.umd.js"
LICENSE: Final = BUNDLE.with_name("niivue_license.txt")
MEND: Final = "python -m bisc.report.patient.niivue"
TIMEOUT_S: Final = 60


def bundle() -> str | None:
    """NiiVue's text; None where it was not fetched, or is not the one that was pinned."""
    if not BUNDLE.is_file():
        return None
    raw = BUNDLE.read_bytes()
    return raw.decode() if hashlib.sha256(raw).hexdigest() == SHA256 else None


def fetch() -> Path:
    """Fetch the bundle where it is not there yet.

    Raises:
        WorkError: If npm's registry cannot be reached, or gives something else.
    """
    if bundle() is not None:
        return BUNDLE
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT_S) as answer:
            archive = answer.read()
    except OSError as error:
        raise WorkError(f"{URL} could not be fetched ({error}); pages will have no 3-D view") from error
    if base64.b64encode(hashlib.sha512(archive).digest()).decode() != SHA512:
        raise WorkError(f"{URL} is not the file that was pinned; pages will have no 3-D view")
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        member = members.extractfile(MEMBER)
        if member is None:
            raise WorkError(f"{URL} holds no {MEMBER}; pages will have no 3-D view")
        write_bytes(BUNDLE, member.read())
    return BUNDLE


if __name__ == "__main__":
    try:
        fetch()
    except WorkError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
