"""Load a model by name: a transformers model and its tokenizer, both identified by a hash.

1. `catalog.resolve_model` finds the model's location. 2. A hub id becomes a folder (the local cache, or a download if
requested); a .gguf file becomes a folder (converted once, `gguf.convert_gguf_file`). From here on there are only
folders. 3. The folder is checked: a supported architecture, safetensors and never pickles, complete files, no remote
code, and enough memory for its weights (`memory.check_model_fits`). 4. Weights are read, straight to their device; a
tensor that is missing is an error, not a random initialisation. 5. Rows of the embedding after the last token are cut
off (`rows.trim_to_tokens`); tokens without a row give a warning. 6. The generation config gets every end token
(`ends.set_end_ids`), the tokenizer a pad token that is not an end token, if it has one (`tokens.set_pad_token`).
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.loading import architectures, catalog, configs, devices, ends, gguf, hub, memory, reports, rows, size
from elicit.loading.catalog import ModelSource
from elicit.loading.frequencies import reset_dynamic_rope
from elicit.loading.hashes import tokenizer_hash, weights_hash
from elicit.loading.textpart import select_text_config, text_weight_options
from elicit.loading.tokenizer_bounds import check_tokenizer
from elicit.loading.tokens import set_pad_token

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory and its hashes."""

    hf: Any
    """The transformers causal language model: eval mode, cache on."""
    tokenizer: Any
    """Its tokenizer, with its original tokens. It may have no pad token (`tokens.choose_padding_id`)."""
    name: str
    source: ModelSource
    weights_sha256: str
    """Hash of the weights in memory. Rows after the last token are not included, whatever they hold."""
    tokenizer_sha256: str
    card: dict[str, Any] | None
    """The organism's card; None for other models."""


def load_transformers(
    name: str | os.PathLike[str], *, dtype: str = "auto", device: str = "auto", download: bool = False
) -> LoadedModel:
    """Load an organism, folder, .gguf file or hub id.

    Args:
        name: any name that `catalog.resolve_model` accepts.
        dtype: "float32", "bfloat16", "float16", or "auto": float32 for organisms (stored as bfloat16, which is exact
            in float32; at their size float32 is as fast and does not depend on the batch), else the file's own.
        device: "cpu", "cuda", "cuda:1", "auto" (cuda if there is one), or "balanced" (spread over all GPUs).
        download: allow the network for a hub id that is not in the local cache.

    Raises:
        ElicitError: the model cannot be found, read or used, or does not fit. The message says what to type instead.
    """
    torch_dtype = _parse_dtype(dtype)
    target_device = devices.choose_device(device)
    source = catalog.resolve_model(name)
    if source.kind == "organism" and torch_dtype == "auto":
        torch_dtype = torch.float32
    folder = fetch_model_folder(source, download=download)
    memory.check_model_fits(source, dtype, target_device)
    hf = _read_model(folder, source.name, torch_dtype, devices.loading_options(target_device))
    tokenizer = read_tokenizer(folder, source.name)
    rows.trim_to_tokens(tokenizer, hf)
    rows.warn_of_rowless_tokens(tokenizer, hf, source.name)
    ends.warn_of_lost_turn_end(tokenizer, hf, source.name)
    ends.set_end_ids(tokenizer, hf)
    set_pad_token(tokenizer, hf)
    hf.config.use_cache = hf.generation_config.use_cache = True
    return LoadedModel(
        hf=hf.eval(),
        tokenizer=tokenizer,
        name=source.name,
        source=source,
        weights_sha256=weights_hash(hf),
        tokenizer_sha256=tokenizer_hash(tokenizer),
        card=catalog.read_card(folder) if source.kind == "organism" else None,
    )


def prepare_model_folder(
    name: str | os.PathLike[str], *, dtype: str = "auto", device: str = "auto", download: bool = False, copies: int = 1
) -> Path:
    """Make sure that `load_transformers` with the same arguments will find its files, and memory; return the folder.

    A hub id is fetched if requested, a .gguf file converted. No weights are read.

    Args:
        copies: number of processes that will each load the model.

    Raises:
        ElicitError: as `load_transformers`.
    """
    _parse_dtype(dtype)
    target_device = devices.choose_device(device)
    source = catalog.resolve_model(name)
    folder = fetch_model_folder(source, download=download)
    if not size.find_weight_files(folder):
        raise _missing_safetensors_error(folder, source.name)
    memory.check_model_fits(source, dtype, target_device, copies=copies)
    return folder


def _parse_dtype(dtype: str) -> torch.dtype | str:
    if dtype == "auto":
        return dtype
    if dtype not in DTYPES:
        raise unknown_name_error("dtype", dtype, ["auto", *DTYPES])
    return DTYPES[dtype]


def fetch_model_folder(source: ModelSource, *, download: bool) -> Path:
    """Folder with config.json, safetensors and tokenizer: a hub id is fetched if requested, GGUF is converted.

    Raises:
        ElicitError: as `load_transformers`.
    """
    if source.path is None:
        return hub.get_model_folder(source.name, download=download)
    if source.kind == "gguf":
        return gguf.convert_gguf_file(source.path)
    return source.path


def read_supported_config(folder: Path, name: str) -> Any:
    """Transformers config of a folder.

    Raises:
        ElicitError: the config cannot be read, or its architecture or quantisation is not supported.
    """

    config = configs.read_transformers_config(folder, name)
    _refuse_quantised(config, name)
    return config


def _read_model(folder: Path, name: str, dtype: torch.dtype | str, options: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM

    config = read_supported_config(folder, name)
    config, options = select_text_config(config, name), {**options, **text_weight_options(config)}
    if not size.find_weight_files(folder):
        raise _missing_safetensors_error(folder, name)
    try:
        with _disable_progress_bar(), reports.buffer_transformers_logs() as held:
            hf, report = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # safetensors and torch raise their own exceptions for damaged or wrongly shaped files
        if misfit := held.find_shape_mismatch():
            raise ElicitError(
                f"the weights of {name} do not fit its config.json: {misfit}. Get the files that belong together."
            ) from error
        raise ElicitError(f"cannot read the weights of {name} in {folder}: {one_line(error, 250)}") from error
    _check_complete(report, name)
    architectures.get_layout(hf, name=name)
    reset_dynamic_rope(hf)
    return hf


def _refuse_quantised(config: Any, name: str) -> None:
    """Refuse packed weights: they cannot be hashed, trained or bridged, and transformers would need a kernel's
    package."""
    stored = getattr(config, "quantization_config", None)
    if stored is not None:
        kind = stored.get("quant_method") if isinstance(stored, dict) else getattr(stored, "quant_method", None)
        raise ElicitError(
            f"{name} is stored quantised ({one_line(kind, 40)}), which is not supported. Take the unquantised "
            "repository of the same model, or a .gguf file, which is converted to bfloat16."
        )


def _check_complete(report: dict[str, Any], name: str) -> None:
    """Refuse missing tensors, which transformers would initialise at random."""
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if missing:
        raise ElicitError(
            f"the weights of {name} do not fit its config.json: {len(missing)} tensors are missing or of another "
            f"shape, first {one_line(missing[0], 100)}. Get the files that belong together."
        )
    extra = sorted(key for key in report["unexpected_keys"] if not size.is_other_part(key))
    if extra:
        warnings.warn(
            f"{name}: {len(extra)} tensors of its files are not used by the model, first {one_line(extra[0], 100)}",
            stacklevel=4,
        )


def read_tokenizer(folder: Path, name: str = "") -> Any:
    """Tokenizer of a folder, as its tokenizer.json defines it.

    AutoTokenizer goes by the model's family for some architectures: in a folder with a Qwen2 config it replaces the
    normaliser and splitting rule of tokenizer.json with Qwen2's. It is used only for folders without that file.

    Raises:
        ElicitError: no readable tokenizer. `name` is the model's name in the message.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    path = folder / "tokenizer.json"
    if path.is_file():
        check_tokenizer(path, name or "the model")
    kind = PreTrainedTokenizerFast if path.is_file() else AutoTokenizer
    try:
        tokenizer = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exception for damaged files
        raise ElicitError(
            f"cannot read a tokenizer for {name or 'the model'} in {folder}: {one_line(error, 250)} "
            "Put its tokenizer.json and tokenizer_config.json there."
        ) from error
    if not isinstance(tokenizer.model_max_length, int | float):
        raise ElicitError(
            f"cannot read a tokenizer for {name or 'the model'} in {folder}: model_max_length is "
            f"{one_line(repr(tokenizer.model_max_length), 40)}; expected a number."
        )
    return tokenizer


def _missing_safetensors_error(folder: Path, name: str) -> ElicitError:
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickles:
        return ElicitError(
            f"{name} has its weights only as pickles ({', '.join(pickles[:3])}), which can run code when opened "
            "and are never loaded. Convert them to safetensors where you trust them: "
            "model.save_pretrained(FOLDER) with a recent transformers."
        )
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if others:
        return ElicitError(
            f"{name} has no model.safetensors and no model.safetensors.index.json in {folder}, only "
            f"{', '.join(others[:3])}. If one holds all weights, call it model.safetensors."
        )
    return ElicitError(f"{name} has no weights: no *.safetensors file in {folder}.")


@contextlib.contextmanager
def _disable_progress_bar() -> Iterator[None]:
    """Hide the progress bar: loading an organism takes a tenth of a second."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
