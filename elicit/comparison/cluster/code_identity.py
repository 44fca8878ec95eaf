"""The code that a process runs, as a hash: rows of two versions must not be mixed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache


def make_code_reader() -> Callable[[], str | None]:
    """A function that gives the hash of the installed code, None without any.

    It is sent to nodes that may have another version, or none: Ray sends functions that stand inside others whole, and
    those of a module by their name.
    """

    def hash_code() -> str | None:
        import hashlib
        import importlib.util
        import pathlib

        digest = hashlib.sha256()
        for package in ("elicit", "saes"):
            spec = importlib.util.find_spec(package)
            if spec is None or spec.origin is None:
                return None
            folder = pathlib.Path(spec.origin).parent
            for path in sorted(folder.rglob("*.py")):
                digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()[:12]

    return hash_code


@lru_cache(maxsize=1)
def read_code() -> str | None:
    """The hash of this process's code, read once."""
    return make_code_reader()()
