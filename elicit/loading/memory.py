"""Memory checks before a model's weights are read. Torch is used only where there is a GPU.

The check compares the weights alone with the memory that is free now; a run needs more on top (caches, logits, and for
training gradients and optimizer states), which `elicit run --plan` estimates.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from elicit.errors import ElicitError
from elicit.loading import size
from elicit.loading.catalog import ModelSource

#: Peak over final size while a GGUF file is de-quantised, and extra bytes for the largest tensors in float32.
_CONVERTING = (1.25, 1 << 29)


def free_cpu(*, cgroups: Path = Path("/sys/fs/cgroup"), process_cgroup: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes of memory that this process can still get from the machine and from its container."""
    import psutil

    limits = [int(psutil.virtual_memory().available)]
    for folder in _list_cgroups(cgroups, process_cgroup):
        try:
            limit = int((folder / "memory.max").read_text())
            used = int((folder / "memory.current").read_text())
            cached = _read_memory_stat(folder / "memory.stat").get("inactive_file", 0)
        except (OSError, ValueError):  # no such file, or `max`: no limit
            continue
        limits.append(max(0, limit - used + cached))
    return min(limits)


def _list_cgroups(cgroups: Path, process_cgroup: Path) -> list[Path]:
    """Control groups (version 2) of this process: its own and its ancestors."""
    try:
        path = next(line[3:] for line in process_cgroup.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    inner = cgroups / path.strip("/")
    return [folder for folder in (inner, *inner.parents) if folder.is_relative_to(cgroups)]


def _read_memory_stat(path: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}


def free_gpus() -> dict[int, int]:
    """Free bytes of every GPU, by its number."""
    import torch

    return {i: int(torch.cuda.mem_get_info(i)[0]) for i in range(torch.cuda.device_count())}


def check_model_fits(
    source: ModelSource, dtype: str, device: str, gpus: Mapping[int, int] | None = None, *, copies: int = 1
) -> None:
    """Refuse a model whose weights do not fit on their device.

    Args:
        dtype: dtype as typed, including `auto`.
        device: `cpu`, `cuda:N`, or `balanced` for all GPUs together.
        gpus: free bytes by GPU; by default from torch, where it matters.
        copies: number of processes that will each load the model.

    Raises:
        ElicitError: the weights do not fit. The message names alternatives that would.
    """
    needed = size.count_weight_bytes(source, dtype)
    if needed is None:
        return
    if device == "cpu":
        gpus = {} if gpus is None else gpus
        free, where = free_cpu(), "of memory are free"
    else:
        gpus = free_gpus() if gpus is None else gpus
        index = int(device.partition(":")[2] or 0)
        free = sum(gpus.values()) if device == "balanced" else gpus[index]
        where = f"are free on the {len(gpus)} GPUs together" if device == "balanced" else f"are free on cuda:{index}"
    if needed * copies <= free:
        return
    if needed <= free:
        raise ElicitError(
            f"{source.name} does not fit {copies} times: each of {copies} workers holds its own "
            f"{_format_gib(needed)}, and "
            f"only {_format_gib(free)} {where}. Type: --workers {max(1, free // needed)}"
        )
    held, count = size.resolve_dtype(source, dtype), size.count_parameters(source)
    assert count is not None
    raise ElicitError(
        f"{source.name} does not fit: its {count / 1e9:.1f} billion weights take {_format_gib(needed)} in {held}, "
        "and only "
        f"{_format_gib(free)} {where}. {_suggest_alternatives(count, str(held), device, gpus, free)}"
    )


def check_conversion(name: str, needed: int) -> None:
    """Refuse to convert a GGUF file whose model would not fit into memory while it is de-quantised.

    Args:
        needed: bytes of the converted weights.

    Raises:
        ElicitError: too little memory. The message gives the required and the free amount.
    """
    factor, extra = _CONVERTING
    peak, free = int(needed * factor) + extra, free_cpu()
    if peak > free:
        raise ElicitError(
            f"{name} cannot be converted here: de-quantising it takes {_format_gib(peak)} of memory, and only "
            f"{_format_gib(free)} "
            "are free. Convert it on a larger machine (with the same ELICIT_CACHE), or take a smaller model."
        )


def _suggest_alternatives(count: int, held: str, device: str, gpus: Mapping[int, int], free: int) -> str:
    """Alternatives that would fit, as text to type."""
    alternatives = []
    if held == "float32" and count * 2 <= free:
        alternatives.append("dtype='bfloat16'")
    narrow = count * min(size.BYTES[held], 2)
    if device.startswith("cuda"):
        roomy = [i for i, room in gpus.items() if narrow <= room and f"cuda:{i}" != device]
        if roomy:
            alternatives.append(f"device='cuda:{roomy[0]}'")
        elif len(gpus) > 1 and narrow <= sum(gpus.values()):
            alternatives.append("device='balanced', which spreads it over the GPUs")
        if narrow <= free_cpu():
            alternatives.append("device='cpu'")
    elif device == "cpu" and any(narrow <= room for room in gpus.values()):
        alternatives.append("device='cuda'")
    if alternatives:
        return "Type " + ", or ".join(alternatives) + "."
    return (
        f"Nothing here holds it, not even in bfloat16 ({_format_gib(count * 2)}): take a smaller model or a "
        "larger machine."
    )


def _format_gib(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
