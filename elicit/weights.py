"""What training changed: full parameters or a LoRA adapter, applied to the shared base while a context is open."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from elicit.errors import ElicitError


class Weights(Protocol):
    """A change of weights that can be applied to the base and taken back."""

    @property
    def sha256(self) -> str: ...
    @property
    def parameters(self) -> int:
        """Number of values that training could change."""
        ...

    def applied(self, hf: Any) -> Any:
        """A context manager in which `hf` runs with these weights."""
        ...

    def save(self, folder: Path) -> None: ...


def _hash(tensors: Mapping[str, torch.Tensor], *extra: str) -> str:
    digest = hashlib.sha256("\x1f".join(extra).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class FullWeights:
    """New values of named parameters; the others are the base's."""

    tensors: Mapping[str, torch.Tensor]

    @property
    def sha256(self) -> str:
        return _hash(self.tensors, "full")

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.tensors.values())

    @contextmanager
    def applied(self, hf: Any) -> Iterator[None]:
        """Swap the values inside the base's own Parameter objects, so that clones sharing them follow."""
        own = dict(hf.named_parameters())
        missing = sorted(set(self.tensors) - set(own))
        if missing:
            raise ElicitError(f"these weights belong to another model: it has no parameter {missing[0]!r}.")
        before = {name: own[name].data for name in self.tensors}
        try:
            for name, tensor in self.tensors.items():
                own[name].data = tensor.to(before[name].device, before[name].dtype)
            yield
        finally:
            for name, data in before.items():
                own[name].data = data

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        save_file(
            {name: tensor.contiguous().cpu() for name, tensor in self.tensors.items()}, folder / "weights.safetensors"
        )


@dataclass(frozen=True, eq=False)
class Adapter:
    """A PEFT adapter: its configuration and its tensors, in peft's own format."""

    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]

    @property
    def sha256(self) -> str:
        return _hash(self.tensors, "adapter", json.dumps(dict(self.config), sort_keys=True, default=str))

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.tensors.values())

    @contextmanager
    def applied(self, hf: Any) -> Iterator[None]:
        """Inject the adapter into the base's modules and take it out again."""
        from peft import PeftModel, get_peft_model, set_peft_model_state_dict
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        kinds = PEFT_TYPE_TO_CONFIG_MAPPING
        kind = kinds[self.config["peft_type"]]
        config = kind.from_peft_type(**{**self.config, "inference_mode": True})
        trainable = {name: p.requires_grad for name, p in hf.named_parameters()}
        wrapped: PeftModel = get_peft_model(hf, config)
        try:
            set_peft_model_state_dict(wrapped, dict(self.tensors))
            wrapped.eval()
            yield
        finally:
            wrapped.unload()
            if hasattr(hf, "peft_config"):
                del hf.peft_config
            for name, p in hf.named_parameters():
                p.requires_grad_(trainable[name])

    def save(self, folder: Path) -> None:
        """Write a folder that plain peft loads: adapter_config.json and adapter_model.safetensors."""
        from safetensors.torch import save_file

        save_file(
            {name: tensor.contiguous().cpu() for name, tensor in self.tensors.items()},
            folder / "adapter_model.safetensors",
        )
        (folder / "adapter_config.json").write_text(json.dumps(dict(self.config), indent=1, default=str) + "\n")


def load(folder: Path) -> Weights | None:
    """The weights saved in a policy folder, or None if the policy uses the base's own."""
    from safetensors.torch import load_file

    if (folder / "adapter_config.json").exists():
        config = json.loads((folder / "adapter_config.json").read_text())
        return Adapter(config, load_file(folder / "adapter_model.safetensors"))
    if (folder / "weights.safetensors").exists():
        return FullWeights(load_file(folder / "weights.safetensors"))
    return None
