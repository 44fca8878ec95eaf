"""Fields of SAELens before version 6 that its present reader leaves out: folded into the weights, or refused in words.

    decode(f) = (f * s) @ W_dec + b_dec    s = scaling_factor, of a fine-tuning; W_dec becomes s[:, None] * W_dec
    threshold = exp(log_threshold)         JumpReLU

Both give the same encode and decode. Fields of cfg.json that would change either are checked here, too: SAELens 6 drops
what it does not know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from packaging.version import InvalidVersion, Version

from elicit.errors import ElicitError, did_you_mean, one_line

#: The same tensor's name in files of versions 1 to 2 and 3 to 5.
SCALES = ("scaling_factor", "finetuning_scaling_factor")
#: Written into cfg.json beside the fields of the SAE's class.
_BESIDE = {*"architecture metadata activation_fn activation_fn_str activation_fn_kwargs hook_layer".split(), *SCALES}


def check_fields(raw: Mapping[str, Any], where: str) -> None:
    """Refuse what a cfg.json says beyond what SAELens 6 reads, where it means something.

    Raises:
        ElicitError: an activation function without its numbers, a single attention head, a transcoder's fields, or, in
            files of version 6, a field that SAELens does not have.
    """
    activation = raw.get("activation_fn", raw.get("activation_fn_str", "relu"))
    numbers = raw.get("activation_fn_kwargs") or {}
    known = {"k"} if activation == "topk" else set()
    if not isinstance(numbers, dict) or not set(numbers) <= known:
        raise ElicitError(
            f"{where}: activation_fn_kwargs is {one_line(repr(numbers), 60)}; expected "
            f"{'k alone' if known else 'nothing'} for activation_fn {activation!r}."
        )
    if activation == "topk" and raw.get("architecture", "standard") != "topk" and "k" not in numbers:
        raise ElicitError(f"{where}: activation_fn is 'topk', and activation_fn_kwargs has no k.")
    metadata = raw.get("metadata") if isinstance(raw.get("metadata"), dict) else {}
    for section in (raw, metadata):
        _check_hooks(section or {}, where)
    version = raw.get("sae_lens_version") or (metadata or {}).get("sae_lens_version")
    if version is not None and _is_current(version, where):
        _check_known_fields(raw, where)


def _check_hooks(section: Mapping[str, Any], where: str) -> None:
    if section.get("hook_head_index", section.get("hook_point_head_index")) is not None:
        raise ElicitError(f"{where}: it reads one attention head (hook_head_index), not the residual stream.")
    hook, out = section.get("hook_name", section.get("hook_point")), section.get("hook_name_out")
    if section.get("is_transcoder") or (out is not None and out != hook):
        raise ElicitError(f"{where}: a transcoder: it maps {one_line(hook, 40)} to {one_line(out, 40)}.")
    if section.get("d_out") not in (None, section.get("d_in")):
        raise ElicitError(
            f"{where}: d_out is {one_line(section['d_out'], 20)}: it maps to another place than it reads."
        )


def _is_current(version: Any, where: str) -> bool:
    try:
        return Version(version) >= Version("6.0.0rc0")
    except (InvalidVersion, TypeError):
        text = one_line(repr(version), 40)
        raise ElicitError(f"{where}: sae_lens_version is {text}, which is not a version.") from None


def _check_known_fields(raw: Mapping[str, Any], where: str) -> None:
    from sae_lens.loading.pretrained_sae_loaders import LLM_METADATA_KEYS
    from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

    classes = [config for _, config in (*SAE_CLASS_REGISTRY.values(), *SAE_TRAINING_CLASS_REGISTRY.values())]
    known = {field.name for config in classes for field in dataclasses.fields(config)} | LLM_METADATA_KEYS | _BESIDE
    for name in raw:
        if name not in known:
            raise ElicitError(
                f"{where}: unknown field {one_line(name, 40)!r}, which may change what this SAE computes."
                f"{did_you_mean(name, known)} Remove it if it does not, or update sae-lens."
            )


def convert_tensors(tensors: Mapping[str, torch.Tensor], raw: Mapping[str, Any], where: str) -> dict[str, torch.Tensor]:
    """An SAE's tensors as SAELens 6 has them, in float32: the same encode and decode.

    Args:
        raw: cfg.json.

    Raises:
        ElicitError: tensors that contradict each other or cfg.json.
    """
    result = {name: tensor.float() for name, tensor in tensors.items()}
    if "log_threshold" in result:
        if "threshold" in result:
            raise ElicitError(f"{where} has both threshold and log_threshold: one of them is wrong.")
        result["threshold"] = result.pop("log_threshold").exp()
    scales = {name: result.pop(name) for name in SCALES if name in result}
    stated = raw.get("finetuning_scaling_factor", False)
    if not isinstance(stated, bool):
        raise ElicitError(
            f"{where}: finetuning_scaling_factor is {one_line(repr(stated), 40)}, expected true or false."
        )
    if len(scales) > 1:
        raise ElicitError(f"{where} has both {' and '.join(scales)}: one of them is wrong.")
    if not scales:
        if stated:
            raise ElicitError(
                f"{where} has no tensor scaling_factor, but cfg.json says finetuning_scaling_factor true."
            )
        return result
    name, scale = scales.popitem()
    d_sae = result["W_dec"].shape[0]
    if list(scale.shape) != [d_sae]:
        raise ElicitError(f"{where}: {name} has shape {list(scale.shape)}, expected [{d_sae}].")
    if torch.allclose(scale, torch.ones_like(scale)):  # as SAELens, which wrote it for a while without using it
        return result
    if not stated:
        raise ElicitError(
            f"{where} has a tensor {name} that is not 1, but cfg.json does not say finetuning_scaling_factor true: "
            "whether it is to be used cannot be told."
        )
    if raw.get("rescale_acts_by_decoder_norm"):
        raise ElicitError(f"{where}: {name} and rescale_acts_by_decoder_norm cannot be used together.")
    result["W_dec"] = result["W_dec"] * scale[:, None]
    return result


def make_disk_loader(raw: Mapping[str, Any], weights: Path) -> Any:
    """A reader of folders for SAELens's `load_from_disk`, which folds what it finds."""

    def load(
        path: str | Path, device: str = "cpu", cfg_overrides: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        from safetensors.torch import load_file

        return {**raw, "device": device, **(cfg_overrides or {})}, convert_tensors(
            load_file(weights, device=device), raw, str(weights)
        )

    return load
