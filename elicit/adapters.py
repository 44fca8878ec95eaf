"""PEFT adapters: read and written in PEFT's own format, injected into the shared base and removed again exactly.

An injected adapter changes the base's tree of modules temporarily, never the values of its tensors (embeddings saved
with the adapter replace the base's meanwhile). Initialisations that are subtracted from the base's weights (PiSSA,
OLoRA, ...) are refused.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from elicit import documents
from elicit.errors import ElicitError, did_you_mean, one_line
from elicit.loading import catalog, rows
from elicit.model import BaseModel
from elicit.tensors import read_tensors

#: Supported types, which only add modules to the base; each is tested against peft.
KINDS = ("LORA", "LOHA", "LOKR", "IA3")
#: Initialisations that do not change the base's weights.
_GENTLE = (True, False, None, "gaussian", "orthogonal", "mica")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, eq=False)
class Adapter:
    """A PEFT adapter: its configuration and tensors, in peft's own format."""

    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]

    @property
    def sha256(self) -> str:
        """Hash of everything that determines the result; the recorded name of the base is not included."""
        meaning = dict(self.config) | {"base_model_name_or_path": None}
        return hash_tensors(self.tensors, "adapter", json.dumps(meaning, sort_keys=True, default=str))

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.tensors.values())

    @property
    def base_id(self) -> str | None:
        """Hub id of the model it was made for, if recorded."""
        return self.config.get("base_model_name_or_path")

    def to_record(self) -> dict[str, Any]:
        """Describe the adapter for a record."""
        reported_fields = (
            "peft_type",
            "r",
            "lora_alpha",
            "use_dora",
            "use_rslora",
            "target_modules",
            "modules_to_save",
        )
        fields = {name: self.config[name] for name in reported_fields if self.config.get(name)}
        return {**fields, "made_for": self.base_id, "values": self.parameters, "sha256": self.sha256}

    @contextmanager
    def apply(self, hf: Any) -> Iterator[None]:
        """Inject the adapter into the base's modules, and remove it on exit.

        Raises:
            ElicitError: the adapter does not fit the model.
        """
        with _restore_model_on_exit(hf):
            inject_adapter(hf, self)
            yield

    def save(self, folder: Path) -> None:
        """Write a folder that peft loads: adapter_config.json and adapter_model.safetensors."""
        from safetensors.torch import save_file

        # transformers' loader requires the framework in the metadata.
        tensors = {name: tensor.contiguous().cpu() for name, tensor in self.tensors.items()}
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(json.dumps(dict(self.config), indent=1, default=str) + "\n")


def hash_tensors(tensors: Mapping[str, torch.Tensor], *extra: str) -> str:
    digest = hashlib.sha256("\x1f".join(extra).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def clone_sharing_tensors(hf: Any) -> Any:
    """Build a second, frozen tree of modules over the same tensors. Its Parameter objects are new, but they share
    memory: writing into a tensor changes both."""
    memo: dict[int, torch.Tensor] = {
        id(p): torch.nn.Parameter(p.detach(), requires_grad=False) for p in hf.parameters()
    }
    memo |= {id(buffer): buffer for buffer in hf.buffers()}
    return copy.deepcopy(hf, memo)


def read_adapter(folder: Path) -> Adapter:
    """Read the adapter in a PEFT folder, made here or elsewhere.

    Raises:
        ElicitError: the adapter is missing, pickled, damaged, or of an unsupported type.
    """
    path = folder / "adapter_config.json"
    if not path.is_file():
        inner = sorted(folder.glob("*/adapter_config.json"))
        advice = f" There is one in {inner[0].parent}." if inner else ""
        raise ElicitError(f"{folder} is not a PEFT adapter: adapter_config.json is missing.{advice}")
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        other = (folder / "adapter_model.bin").exists()
        raise ElicitError(
            f"{folder} lacks adapter_model.safetensors." + (" Pickles are not read: save it again with peft." * other)
        )
    config = documents.read_object(path)
    if "peft_type" not in config:
        raise ElicitError(f"{path} is not a PEFT configuration: peft_type is missing.")
    tensors = read_tensors(weights)
    _check_kind(config, folder)
    _check_ranks(config, tensors, path)
    stated = config.get("base_model_name_or_path")
    local = not isinstance(stated, str) or not _HUB_ID.fullmatch(stated) or Path(stated).exists()
    return Adapter(config | {"base_model_name_or_path": None if local else stated}, tensors)


def _check_kind(config: Mapping[str, Any], folder: Path) -> None:
    kind, task = config["peft_type"], config.get("task_type")
    if kind not in KINDS:
        raise ElicitError(
            f"{folder}: adapters of kind {one_line(kind, 40)} are not supported.{did_you_mean(str(kind), KINDS)} "
            f"Supported: {', '.join(KINDS)} (DoRA and rsLoRA are LORA)."
        )
    if task not in (None, "CAUSAL_LM"):
        raise ElicitError(f"{folder}: an adapter for {one_line(task, 40)}, not for a causal language model.")
    start = config.get("init_lora_weights", True)
    if start not in _GENTLE or config.get("loftq_config"):
        raise ElicitError(
            f"{folder}: its initial values ({one_line(start, 40)}) were subtracted from the base's own weights, which "
            "stay unchanged here. Save it again with peft's path_initial_model_for_weight_conversion."
        )


def _check_ranks(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Check ranks: peft allocates tensors of these ranks, however large, before it reads those in the file."""
    if config["peft_type"] not in ("LORA", "LOHA"):  # tensors of other types need not have the rank as a dimension
        return
    stated = {"r": config.get("r")}
    pattern = config.get("rank_pattern")
    if isinstance(pattern, dict):
        stated |= {f"rank_pattern.{name}": rank for name, rank in pattern.items()}
    largest = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    for field, rank in stated.items():
        if rank is not None and (type(rank) is not int or not 1 <= rank <= largest):
            raise ElicitError(
                f"{path}: {one_line(field, 60)} is {one_line(repr(rank), 40)}; expected a whole number from 1 to the "
                f"longest side of its tensors, {largest}."
            )


def read_adapter_of(model: BaseModel, folder: Path, *, any_base: bool) -> Adapter:
    """Read an adapter for `model`.

    Raises:
        ElicitError: as `read_adapter`; or it does not fit the model, or names another one, unless `any_base`.
    """
    adapter = read_adapter(folder)
    if not any_base:
        _check_adapter_base(adapter, model, str(folder))
    with adapter.apply(model.hf):  # check that it fits
        return adapter


def _check_adapter_base(adapter: Adapter, model: BaseModel, where: str) -> None:
    """Raise ElicitError if the adapter names another model than this one (if both have a hub id)."""
    model_id = hub_id(model)
    if adapter.base_id is not None and model_id is not None and adapter.base_id.lower() != model_id.lower():
        raise ElicitError(
            f"the adapter in {where} was made for {adapter.base_id}, but the model is {model_id}. Load that model, "
            "or type "
            "any_base: true if they are the same weights."
        )


def hub_id(model: BaseModel) -> str | None:
    """Hub id by which the model was loaded, without a revision; None otherwise."""
    try:
        source = catalog.resolve_model(model.name)
    except ElicitError:
        return None
    return source.name.partition("@")[0] if source.kind == "hub" else None


def inject_adapter(hf: Any, adapter: Adapter) -> Any:
    """Build the PeftModel around `hf` with the adapter injected, ready to run.

    Raises:
        ElicitError: the adapter does not fit.
    """
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kind = PEFT_TYPE_TO_CONFIG_MAPPING[adapter.config["peft_type"]]
    base_parameter_ids = {id(p) for p in hf.parameters()}
    try:
        config = kind.from_peft_type(**{**adapter.config, "inference_mode": True})
        # peft draws initial values, which are then replaced, and warns about intended cases (tied weights, Conv1D).
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
            wrapped = get_peft_model(hf, config)
        named_parameters = wrapped.named_parameters(remove_duplicate=False)
        full_tensors = {
            name: p for name, p in named_parameters if id(p) in base_parameter_ids and name in adapter.tensors
        }
        for name, parameter in full_tensors.items():
            _replace_parameter(parameter, rows.trim_tensor(adapter.tensors[name], parameter.shape, hf), name)
        shapes = {name: t.shape for name, t in get_peft_model_state_dict(wrapped, save_embedding_layers=False).items()}
        tensors = {name: rows.trim_tensor(t, shapes.get(name, t.shape), hf) for name, t in adapter.tensors.items()}
        result = set_peft_model_state_dict(wrapped, {n: t for n, t in tensors.items() if n not in full_tensors})
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a foreign configuration can make peft fail in any way
        raise ElicitError(f"the adapter does not fit {_describe_model_size(hf)}: {one_line(error, 220)}") from error
    # A module tied to another (token adapters of a tied head) takes its values from there.
    values = {name: id(p) for name, p in wrapped.named_parameters(remove_duplicate=False)}
    loaded_ids = {number for name, number in values.items() if name not in result.missing_keys}
    lost = [name for name in result.missing_keys if ".default" in name and values.get(name) not in loaded_ids]
    if lost or result.unexpected_keys:
        name, what = (lost[0], "lacks") if lost else (result.unexpected_keys[0], "has a tensor too many:")
        raise ElicitError(f"the adapter does not fit {_describe_model_size(hf)}: it {what} {one_line(name, 120)}.")
    return wrapped.eval()


def _replace_parameter(parameter: torch.nn.Parameter, tensor: torch.Tensor, name: str) -> None:
    """Replace the tensor of a parameter: peft saves whole embeddings with the adapter if a vocabulary was resized."""
    if parameter.shape != tensor.shape:
        shapes = " and ".join(str(tuple(value.shape)) for value in (tensor, parameter))
        raise ElicitError(f"{name} has the shape {shapes} in the adapter and in the model.")
    parameter.data = tensor.to(parameter.device, parameter.dtype)


def _describe_model_size(hf: Any) -> str:
    config = hf.config.get_text_config(decoder=True)
    return f"this {config.model_type} model ({config.num_hidden_layers} layers of width {config.hidden_size})"


@contextmanager
def _restore_model_on_exit(hf: Any) -> Iterator[None]:
    """Restore a model's modules, attributes, flags and tensors on exit, whatever happened to them meanwhile."""
    tree = [(module, dict(module._modules), module.training) for module in hf.modules()]
    flags = [(p, p.requires_grad, p.data) for p in hf.parameters()]
    attributes = set(vars(hf))
    for name, p in hf.named_parameters():
        if name.endswith("bias"):  # adapters may train these in place
            p.data = p.data.clone()
    try:
        yield
    finally:
        for module, children, training in tree:
            module._modules = children
            module.training = training
        for p, flag, data in flags:
            p.requires_grad_(flag)
            p.data = data
        for name in set(vars(hf)) - attributes:
            delattr(hf, name)
