"""onnxruntime-web from npm, in the session's environment: fetched once, its digest checked."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.contract import Unavailable

VERSION = "1.30.0"
#: SHA-512 of the package, as npm writes the field `integrity`.
INTEGRITY = (
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02V"
    "b7QmRMDs1SigqR4CXAfKYQ=="
)
#: The files of the package that the page loads.
NAMES = (
    "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
FOLDER = Path(sys.prefix, "share", f"onnxruntime-web-{VERSION}")
PAGE = Path(__file__).parent / "page"


def files(folder: Path = FOLDER) -> Mapping[str, Path]:
    """The files that the page loads, by name; fetched from npm where they are not there yet.

    Raises:
        Unavailable: there is no npm, npm fails, or the package is another one.
    """
    if not all((folder / name).is_file() for name in NAMES):
        fetch(folder)
    return {
        **{name: folder / name for name in NAMES},
        **{path.name: path for path in PAGE.iterdir()},
    }


def fetch(folder: Path) -> None:
    """Fetch the package and put its files into a folder.

    Raises:
        Unavailable: there is no npm, npm fails, or the package is another one.
    """
    package = f"onnxruntime-web@{VERSION}"
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable(
            f"expected npm, which fetches {package}, found none.", "`apt-get install npm`."
        )
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            [npm, "pack", "--silent", "--pack-destination", place, package],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        packed = next(Path(place).glob("*.tgz"), None)
        if done.returncode or packed is None:
            raise Unavailable(
                f"expected npm to fetch {package}, found: {done.stderr.strip()[-400:]}.",
                f"see that `npm pack {package}` works on this machine.",
            )
        unpack(packed, folder)


def unpack(packed: Path, folder: Path, integrity: str = INTEGRITY) -> None:
    """Put the files of a package into a folder, if it is the package that is wanted.

    Raises:
        Unavailable: it is another one.
    """
    found = "sha512-" + base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    if found != integrity:
        raise Unavailable(
            f"expected onnxruntime-web {VERSION} with the digest {integrity}, found {found}.",
            "see which registry npm is set to: `npm config get registry`.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(packed) as archive:
        for name in NAMES:
            source = archive.extractfile(f"package/dist/{name}")
            assert source is not None
            part = folder / f"{name}.part"
            part.write_bytes(source.read())
            part.replace(folder / name)
