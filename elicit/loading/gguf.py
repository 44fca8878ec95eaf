"""GGUF files: converted once into a folder of safetensors, which is kept in a cache.

1. The file is hashed; the cache folder is `$ELICIT_CACHE/gguf/<sha256>` (default `~/.cache/elicit`).
2. transformers de-quantises it into an ordinary model: minutes for a file of a gigabyte.
3. Model and tokenizer are written to a temporary folder beside the final one and renamed into place, so a killed
   conversion leaves nothing that could be taken for a finished one.

Float files keep their type. De-quantised weights are stored as bfloat16: its rounding (0.2 %) is smaller than that of
8-bit blocks and far below that of 4-bit ones, and the cache is half as large.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from elicit.errors import ElicitError, one_line, require_extra
from elicit.loading import architectures
from elicit.loading.rope import restore_rope_scaling

_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def cache_root() -> Path:
    """$ELICIT_CACHE, or ~/.cache/elicit."""
    chosen = os.environ.get("ELICIT_CACHE", "")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "elicit"


def converted(path: Path) -> Path:
    """The folder with the model of the .gguf file `path`, converted now if it is not in the cache.

    Raises:
        ElicitError: without the package gguf, for a damaged or unsupported file, or a cache that cannot be written.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ElicitError(f"cannot read {path}: {error.strerror}.") from error
    target = cache_root() / "gguf" / sha256
    if target.is_dir():
        return target
    require_extra("gguf", "gguf", f"Reading {path.name}")
    scratch = _scratch(target)
    try:
        hf, tokenizer = _read(path)
        _write(hf, tokenizer, scratch, {"file": path.name, "sha256": sha256})
        _rename(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _scratch(target: Path) -> Path:
    """A new folder beside `target`. Made before the slow part, so that a bad cache is known at once."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name[:16]}-", dir=target.parent))
    except OSError as error:
        raise _cannot_write(target.parent, error) from error


def _read(path: Path) -> tuple[Any, Any]:
    """De-quantise. Anything can go wrong in a damaged file, and every parser fails in its own way."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        dtype, extras = _inspect(path)
        place = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(path.parent, **place)
        architectures.layout(config.model_type, name=path.name)
        hf, report = AutoModelForCausalLM.from_pretrained(
            path.parent,
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
            **place,
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **place)
        restore_rope_scaling(hf.config, extras, path.name)
    except ElicitError:
        raise
    except Exception as error:
        raise ElicitError(
            f"cannot read {path} as GGUF: {one_line(f'{type(error).__name__}: {error}', 250)} "
            "The file may be incomplete (compare its size or hash with the source), or of a kind that transformers "
            "does not convert."
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ElicitError(f"{path}: {len(missing)} tensors of the model are not in the file, first {missing[0]}.")
    return hf, tokenizer


def _inspect(path: Path) -> tuple[torch.dtype, dict[str, Any]]:
    """(dtype to store, what the file says of rotary scaling), without reading the weights."""
    import gguf

    reader = gguf.GGUFReader(path)
    kinds = {tensor.tensor_type.name for tensor in reader.tensors}
    end = max((int(tensor.data_offset) + int(tensor.n_bytes) for tensor in reader.tensors), default=0)
    if not kinds:
        raise ValueError("it holds no tensors")
    if end > path.stat().st_size:
        raise ValueError(f"it ends after {path.stat().st_size} bytes, but its tensors need {end}")
    # Beside half-precision matrices, norms are stored as F32: the narrower type is the model's.
    dtype = next((_FLOATS[kind] for kind in ("BF16", "F16", "F32") if kind in kinds), torch.bfloat16)
    if not kinds <= _FLOATS.keys():
        dtype = torch.bfloat16
    extras: dict[str, Any] = {
        key.split(".", 1)[1]: field.contents() for key, field in reader.fields.items() if ".rope.scaling." in key
    }
    extras |= {t.name: torch.tensor(t.data).float() for t in reader.tensors if t.name.startswith("rope_f")}
    return dtype, extras


def _write(hf: Any, tokenizer: Any, folder: Path, origin: dict[str, str]) -> None:
    # Where a trace of the quantiser is left, save_pretrained takes the model for quantised and refuses.
    hf.hf_quantizer = None
    vars(hf.config).pop("quantization_config", None)
    try:
        hf.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "converted_from.json").write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
        folder.chmod(0o755)
    except Exception as error:  # a full disk is an OSError here and a SafetensorError there
        raise _cannot_write(folder.parent, error) from error


def _rename(scratch: Path, target: Path) -> None:
    try:
        os.replace(scratch, target)
    except OSError as error:
        if not target.is_dir():  # else another process finished the same conversion first
            raise _cannot_write(target.parent, error) from error


def _cannot_write(folder: Path, error: Exception) -> ElicitError:
    return ElicitError(
        f"cannot write the converted model to {folder}: {one_line(error, 200)}. Free some space, or set "
        "ELICIT_CACHE to a folder that can be written."
    )
