"""A stretch of code that neither installs nor downloads anything.

TransformerLens installs torchvision with pip (or uv) in the running environment for some models, which has replaced
torch, and asks the hub for files. Nobody asked for either.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: For programs that are started all the same, by a way that is not watched.
_ENVIRONMENT = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


class ProgramBlocked(RuntimeError):
    """A program was about to be started where none may be."""


@contextmanager
def block_installs() -> Iterator[None]:
    """Refuse to start programs (in this thread) and to ask the hub, while the context is open."""
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
