"""Device placement of a model: one device, or spread over all GPUs for inference.

`balanced` gives every GPU about the same number of layers (accelerate's device map). Each layer then computes on its
own device; code that reads or writes a residual moves its tensors there. Training needs a model on one device.
"""

from __future__ import annotations

from typing import Any

import torch

from elicit.errors import ElicitError, unknown_name_error

KNOWN = ["auto", "cpu", "cuda", "cuda:0", "balanced"]


def choose_device(device: str) -> str:
    """`cpu`, `cuda:N` or `balanced`, from the device as typed.

    Raises:
        ElicitError: an unknown or missing device.
    """
    count = torch.cuda.device_count()
    if device == "auto":
        return "cuda:0" if count else "cpu"
    if device == "balanced":
        if not count:
            raise ElicitError("device 'balanced' spreads a model over GPUs, and torch sees none. Type: device='cpu'")
        return "balanced" if count > 1 else "cuda:0"
    try:
        torch_device = torch.device(device)
    except RuntimeError:
        raise unknown_name_error("device", device, KNOWN) from None
    if torch_device.type not in ("cpu", "cuda"):
        raise unknown_name_error("device", device, KNOWN)
    if torch_device.type == "cpu":
        return "cpu"
    if (torch_device.index or 0) >= count:
        raise ElicitError(f"device {device!r} is not there: torch sees {count} CUDA devices. Type: device='cpu'")
    return f"cuda:{torch_device.index or 0}"


def loading_options(target_device: str) -> dict[str, Any]:
    """Arguments for `from_pretrained` that put weights on their device without an intermediate copy of all of them."""
    if target_device == "cpu":
        return {}
    if target_device != "balanced":
        return {"device_map": {"": target_device}}
    from elicit.loading.memory import free_gpus

    # Without limits for the GPUs, accelerate would also use the CPU's memory and the disk, which are slow.
    return {"device_map": "balanced", "max_memory": free_gpus()}


def is_spread(hf: Any) -> bool:
    """Return True if the layers are on several devices. Such a model can be run but not trained."""
    return len({parameter.device for parameter in hf.parameters()}) > 1


def require_one_device(hf: Any, what: str) -> torch.device:
    """Device of a model that must be on a single one.

    Args:
        what: subject of the message, such as "training".

    Raises:
        ElicitError: the model is spread over several devices.
    """
    if is_spread(hf):
        raise ElicitError(
            f"{what} needs the model on one device, and device='balanced' has spread it over several. "
            "Type: device='cuda:0' (in a spec, device: cuda:0)"
        )
    return next(iter(hf.parameters())).device  # type: ignore[no-any-return]
