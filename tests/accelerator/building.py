"""The shim that lets a CPU build of torch hold tensors of device cuda:0, compiled once and kept.

This module does not import torch: the shim must be loaded before torch is.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("guard.cpp")


class CannotBuild(Exception):
    """Why there is no simulated accelerator here."""


def torch_folder() -> Path:
    """Where torch is installed."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def build() -> Path:
    """The compiled shim, built where no earlier build for this source and this torch is at hand.

    Raises:
        CannotBuild: a CUDA build of torch (whose own device is there), no Linux, no compiler, or one that fails.
    """
    version = importlib.metadata.version("torch")
    if not sys.platform.startswith("linux"):
        raise CannotBuild("the simulated accelerator is built on Linux only")
    if (torch_folder() / "lib" / "libtorch_cuda.so").exists():
        raise CannotBuild(f"torch {version} is a CUDA build, which has this device already")
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise CannotBuild("the simulated accelerator needs a C++ compiler (g++ or clang++)")
    key = hashlib.sha256(SOURCE.read_bytes() + version.encode()).hexdigest()[:16]
    library = Path(tempfile.gettempdir()) / f"elicit-simulated-accelerator-{os.getuid()}" / f"guard-{key}.so"
    if not library.exists():
        library.parent.mkdir(mode=0o700, exist_ok=True)
        _compile(compiler, library)
    return library


def _compile(compiler: str, library: Path) -> None:
    root = torch_folder()
    fresh = library.with_suffix(f".{os.getpid()}")
    include, lib = root / "include", root / "lib"
    command = [
        *(compiler, "-O1", "-std=c++20", "-shared", "-fPIC", str(SOURCE), "-o", str(fresh)),
        *(f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}", f"-L{lib}", "-lc10", "-ltorch_cpu"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"the simulated accelerator did not compile: {done.stderr.strip().splitlines()[-1:]}")
    fresh.rename(library)


def load_before_torch() -> None:
    """Load the shim into this process.

    Raises:
        CannotBuild: as `build`.
        RuntimeError: torch was imported already; it asks once what accelerators there are.
    """
    if "torch" in sys.modules:
        raise RuntimeError("the simulated accelerator must be loaded before torch is imported")
    library = build()
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(torch_folder() / "lib" / name), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
