"""Kinds of GPU for `elicit run --plan --gpus 4xA100-80GB`: memory, arithmetic and bandwidth of their data sheets.

Arithmetic is dense, without sparsity, and float32 without TF32, since torch multiplies float32 matrices so by default.
Sources: NVIDIA's data sheets of A100 (SXM4, 40 and 80 GB), H100 and H200 (SXM5), L40S, A10G (AWS G5) and T4; the
whitepapers of GA102 (RTX 3090) and of Ada (RTX 4090), whose half-precision figures are those with float32 accumulation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from elicit.errors import ElicitError, one_line

#: Share of the memory that a process can have: error correction, the driver and CUDA take the rest.
_USABLE = 0.93


class Gpu(NamedTuple):
    """One kind of GPU."""

    name: str
    memory: float
    """GB."""
    half: float
    """TFLOP/s in bfloat16 and float16."""
    single: float | None
    """TFLOP/s in float32; None where it is not known."""
    bandwidth: float
    """GB/s."""
    bfloat16: bool = True
    """Whether it computes in bfloat16; else in float16 alone."""

    @property
    def usable_gib(self) -> float:
        """GiB that a process can have; a GPU of 80 GB has 80 GiB."""
        return self.memory * _USABLE

    def find_flops(self, dtype: str) -> float:
        """FLOP/s at most in a dtype.

        Raises:
            ElicitError: it does not compute in that dtype, or that figure is not known.
        """
        if dtype == "bfloat16" and not self.bfloat16:
            raise ElicitError(f"--gpus: {self.name} does not compute in bfloat16. Type dtype: float16 in the spec.")
        speed = self.single if dtype == "float32" else self.half
        if speed is None:
            raise ElicitError("--gpus: a model in float32 needs tflops_float32 too, beside tflops (bfloat16, float16).")
        return speed * 1e12


KINDS: tuple[Gpu, ...] = (
    Gpu("A100-40GB", 40, 312, 19.5, 1555),
    Gpu("A100-80GB", 80, 312, 19.5, 2039),
    Gpu("H100", 80, 989, 67, 3350),
    Gpu("H200", 141, 989, 67, 4800),
    Gpu("L40S", 48, 362, 91.6, 864),
    Gpu("A10G", 24, 70, 35, 600),
    Gpu("RTX-4090", 24, 165.2, 82.6, 1008),
    Gpu("RTX-3090", 24, 71, 35.6, 936),
    Gpu("T4", 16, 65, 8.1, 320, bfloat16=False),
)


@dataclass(frozen=True)
class Gpus:
    """Several GPUs of one kind."""

    count: int
    gpu: Gpu


_FORM = re.compile(r"(?:(-?\d{1,6})\s*[x*×]\s*)?(\S.*)", re.IGNORECASE | re.DOTALL)
_FIELDS = ("memory", "tflops", "tflops_float32", "bandwidth")


def is_this_machine(text: str) -> bool:
    """True for `cpu`, which stands for this machine: its speed is measured, not read off a data sheet."""
    return text.strip().lower() == "cpu"


def parse_gpus(text: str) -> Gpus:
    """Parse `4xA100-80GB`, `H100`, or `4x{memory: 48, tflops: 180, bandwidth: 864}` (GB, dense half precision, GB/s).

    Raises:
        ElicitError: an unknown kind, no GPU, or a figure that is missing or not above 0.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ElicitError(f"--gpus is {one_line(repr(text), 60)}; expected a number and a kind, such as 4xA100-80GB.")
    count = 1 if match[1] is None else int(match[1])
    if count < 1:
        raise ElicitError(f"--gpus {one_line(text, 60)}: {count} GPUs; expected at least 1.")
    return Gpus(count, _parse_own(match[2]) if match[2].startswith("{") else _find_kind(match[2]))


def _find_kind(text: str) -> Gpu:
    for gpu in KINDS:
        name = _plain(gpu.name)
        if _plain(text) in (name, name.removeprefix("rtx"), f"{name}{gpu.memory:g}gb"):
            return gpu
    known = ", ".join([*(gpu.name for gpu in KINDS), "or cpu alone, for this machine"])
    raise ElicitError(
        f"--gpus: {one_line(repr(text), 60)} is not a kind of GPU that is known here ({known}). Type its figures: "
        "'4x{memory: 48, tflops: 180, bandwidth: 864}'."
    )


def _plain(text: str) -> str:
    return re.sub(r"[-_\s]", "", text).lower()


def _parse_own(text: str) -> Gpu:
    where = f"--gpus {one_line(text, 80)}"
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError:
        fields = None
    if not isinstance(fields, Mapping):
        raise ElicitError(f"{where}: expected {{memory: GB, tflops: NUMBER, bandwidth: GB/s}}.")
    for field in fields:
        if field not in _FIELDS:
            raise ElicitError(f"{where}: {one_line(repr(field), 40)} is not a figure of a GPU: {', '.join(_FIELDS)}.")
    figures = {field: _read_figure(fields, field, where) for field in _FIELDS if field != "tflops_float32"}
    single = _read_figure(fields, "tflops_float32", where) if "tflops_float32" in fields else None
    return Gpu("your GPU", figures["memory"], figures["tflops"], single, figures["bandwidth"])


def _read_figure(fields: Mapping[Any, Any], field: str, where: str) -> float:
    value = fields.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise ElicitError(f"{where}: {field} is {one_line(repr(value), 40)}; expected a number above 0.")
    return float(value)
