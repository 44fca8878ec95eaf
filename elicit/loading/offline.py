"""Context in which code can neither install nor download anything.

For some models TransformerLens installs torchvision with pip (or uv) in the running environment, which can replace
torch, and requests files from the hub. Users did not request either.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Environment for programs that are started in a way that is not intercepted.
_ENVIRONMENT = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class ProgramBlocked(RuntimeError):
    """An attempt to start a program inside `block_installs`."""


@contextmanager
def block_installs() -> Iterator[None]:
    """Refuse to start programs (in this thread) and to contact the hub while the context is open."""
    from huggingface_hub import constants

    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    offline, popen, thread = constants.HF_HUB_OFFLINE, subprocess.Popen, threading.get_ident()

    class RefusingPopen(popen):  # type: ignore[misc, valid-type]
        def __init__(self, args: Any, *rest: Any, **options: Any) -> None:
            if threading.get_ident() == thread:
                raise ProgramBlocked(f"not started: {args!r}")
            super().__init__(args, *rest, **options)

    os.environ.update(_ENVIRONMENT)
    constants.HF_HUB_OFFLINE = True
    subprocess.Popen = RefusingPopen  # type: ignore[misc]
    try:
        yield
    finally:
        subprocess.Popen = popen  # type: ignore[misc]
        constants.HF_HUB_OFFLINE = offline
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
