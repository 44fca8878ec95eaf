"""`elicit doctor`: is this installation fit for use?"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elicit.cli.arguments import parse

_NEEDED = ("torch", "transformers", "transformer-lens", "trl", "peft", "datasets", "scipy", "plotly", "pydantic")
_EXTRAS = {"gguf": "GGUF files"}


@dataclass(frozen=True)
class Doctor:
    """Check packages, machine, shipped models and one steered sample."""


def main(arguments: Sequence[str]) -> int:
    """0 if everything needed is there, 1 otherwise."""
    parse(Doctor, "doctor", arguments)
    fine = _packages()
    _machine()
    return 0 if _models() and fine else 1


def _packages() -> bool:
    fine = sys.version_info >= (3, 11)
    print(f"{'ok ' if fine else 'BAD'} python {platform.python_version()}")
    for name in _NEEDED:
        try:
            print(f"ok  {name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            fine = False
            print(f"BAD {name} is missing. Type: pip install elicit-reasoning")
    for extra, purpose in _EXTRAS.items():
        there = importlib.util.find_spec(extra) is not None
        hint = "" if there else f": not installed. Type: pip install 'elicit-reasoning[{extra}]'"
        print(f"{'ok ' if there else '-- '} {purpose}{hint}")
    return fine


def _machine() -> None:
    import torch

    from elicit.loading import converted, memory

    print(f"ok  {memory.free_cpu() / 2**30:.0f} GiB of memory free")
    kept = [folder for folder in converted.cache_root().glob("gguf/*") if converted.is_whole(folder)]
    if kept:
        held = sum(path.stat().st_size for folder in kept for path in folder.iterdir())
        print(f"ok  {len(kept)} converted GGUF files in {converted.cache_root() / 'gguf'}, {held / 2**30:.1f} GiB")
    print(f"ok  {os.cpu_count()} cores, {shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free here")
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        print(f"ok  cuda:{number} {name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")
    if not torch.cuda.device_count():
        print("--  no GPU: organisms and small models run on the CPU")


def _models() -> bool:
    """Load the first shipped organism and let it answer once."""
    from elicit.loading import catalog
    from elicit.model import load
    from elicit.sampling import Decoding

    names = [entry.name for entry in catalog.names()]
    if not names:
        print("BAD no organisms are shipped with this installation")
        return False
    model = load(names[0])
    (completion,) = model.sample(["Q:47+38\nA:"], decoding=Decoding(max_new_tokens=8))[0]
    print(f"ok  {len(names)} organisms: {', '.join(names)}; {names[0]} answers {completion.text!r}")
    return True
