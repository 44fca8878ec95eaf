"""SAELens's folders: cfg.json and sae_weights.safetensors.

cfg.json and the header of the weights are checked before a tensor is made: SAELens itself takes any value of the right
shape (`"apply_b_dec_to_input": 5` multiplies the bias by five) and says a missing field in the words of its internals.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from elicit import documents
from elicit.errors import ElicitError, one_line, unknown_name_error
from saes.loading import older
from saes.loading.centred import CentredCoder, needs_centring
from saes.loading.validation import LoadedWeights
from saes.manifest import describe_error

WEIGHTS = "sae_weights.safetensors"
#: What the lab can read and edit: f = encode(h), h ~ f @ D + b.
KINDS = ("standard", "gated", "topk", "abstopk", "jumprelu")
_SHAPED_LIKE_B_ENC = {"gated": ("b_gate", "b_mag", "r_mag"), "jumprelu": ("b_enc", "threshold")}
_UNFIT = {
    "transcoder": "is a transcoder: it maps what a layer reads to what it writes",
    "temporal": "codes a token by those before it",
    "matching_pursuit": "picks latents one after another, with no encoder to read one by",
}
#: Kinds that exist in training only, and what SAELens stores them as.
_STORED_AS = {"batchtopk": "jumprelu", "matryoshka_batchtopk": "jumprelu"}


class SAELensConfig(BaseModel):
    """The fields of cfg.json that decide what an SAE computes (SAELens 6)."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    architecture: str
    d_in: int = Field(gt=0)
    d_sae: int = Field(gt=0)
    dtype: str = "float32"
    apply_b_dec_to_input: bool = True
    normalize_activations: str = "none"
    reshape_activations: str = "none"
    rescale_acts_by_decoder_norm: bool = False
    k: int | None = Field(default=None, gt=0)
    metadata: dict[str, Any] = {}


def read_saelens_folder(folder: Path, device: str) -> LoadedWeights:
    """SAELens's module in float32, and what the files say of the SAE.

    Raises:
        ElicitError: cfg.json or weights that are damaged, contradict each other or do not fit.
    """
    path = folder / "cfg.json"
    config = read_config(path)
    _check_shapes(folder / WEIGHTS, config)
    loader = older.make_disk_loader(read_object(path), folder / WEIGHTS)
    from sae_lens import SAE as SAELensSAE

    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            coder = SAELensSAE.load_from_disk(folder, device=device, dtype="float32", converter=loader)
    except ElicitError:
        raise
    except Exception as error:  # SAELens raises of many kinds; all mean that these files are no SAE
        raise ElicitError(f"{folder}: SAELens cannot read this SAE: {one_line(error, 200)}") from error
    return read_module(coder, str(path))


def read_config(path: Path) -> SAELensConfig:
    """cfg.json, checked.

    Raises:
        ElicitError: not JSON, a field missing or of the wrong kind, an architecture that does not fit.
    """
    from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting

    raw = read_object(path)
    metadata = raw.get("metadata")
    if isinstance(metadata, dict) and not (metadata.get("sae_lens_version") or raw.get("sae_lens_version")):
        # SAELens would take the file for one of an old version, and forget the metadata.
        raise ElicitError(f"{path}: metadata.sae_lens_version is missing.")
    activation = raw.get("activation_fn", raw.get("activation_fn_str", "relu"))
    if activation not in ("relu", "topk"):
        raise unknown_name_error("activation_fn", activation, ("relu", "topk"), where=str(path))
    check_architecture(raw.get("architecture", "standard"), str(path))
    older.check_fields(raw, str(path))
    try:
        config = SAELensConfig.model_validate(handle_config_defaulting(raw))
    except Exception as error:  # defaulting of old versions' fields fails in as many ways as a file can be wrong
        raise ElicitError(f"{path}: {describe_error(error)}.") from None
    if config.architecture in ("topk", "abstopk") and not 1 <= (config.k or 0) <= config.d_sae:
        raise ElicitError(f"{path}: k is {config.k}, expected 1 to d_sae = {config.d_sae}.")
    check_architecture(config.architecture, str(path), config.normalize_activations, config.reshape_activations)
    return config


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ElicitError: if the file is something else.
    """
    return documents.read_object(path)


def check_architecture(architecture: object, where: str, normalisation: str = "none", reshaping: str = "none") -> None:
    """Refuse what is no autoencoder of the residual stream with a linear decoder.

    Raises:
        ElicitError: naming what it is and what is needed.
    """
    kind = architecture if isinstance(architecture, str) else repr(architecture)
    if kind in _STORED_AS:
        raise ElicitError(
            f"{where}: a {kind} SAE in training. For use SAELens makes a {_STORED_AS[kind]} SAE of it: save it with "
            "save_inference_model."
        )
    for word, what in _UNFIT.items():
        if word in kind:
            raise ElicitError(f"{where}: architecture {kind!r} {what}. The lab takes SAEs ({', '.join(KINDS)}).")
    if kind not in KINDS:
        raise unknown_name_error("SAE architecture", kind, KINDS, where=where)
    if reshaping != "none":
        raise ElicitError(f"{where}: it reads attention heads ({one_line(reshaping, 40)}), not the residual stream.")
    if normalisation in ("expected_average_only_in", "covariance_whitening"):
        raise ElicitError(
            f"{where}: its inputs are to be scaled first ({normalisation}) by figures that are not in this SAE. "
            "SAELens folds them in at the end of training: take the final SAE, not a checkpoint."
        )
    if normalisation not in ("none", "layer_norm", "constant_norm_rescale"):
        known = ("none", "layer_norm", "constant_norm_rescale")
        raise unknown_name_error("normalize_activations", normalisation, known, where=where)


def read_module(coder: Any, where: str) -> LoadedWeights:
    """Read the weights and the metadata of a loaded SAELens module.

    Raises:
        ElicitError: a kind that does not fit, or metadata of the wrong type.
    """
    cfg, metadata = coder.cfg, coder.cfg.metadata
    check_architecture(cfg.architecture(), where, cfg.normalize_activations, cfg.reshape_activations)
    coder.requires_grad_(False)
    trained_as, details = metadata.training_architecture, metadata.training_architecture_details
    k = getattr(cfg, "k", None) or (details.get("k") if isinstance(details, dict) else None)
    for field in ("model_name", "hook_name"):
        if not isinstance(value := getattr(metadata, field), str | None):
            raise ElicitError(f"{where}: metadata.{field} is {one_line(repr(value), 40)}, expected text.")
    kind = cfg.architecture()
    if trained_as in (*KINDS, *_STORED_AS) and _STORED_AS.get(trained_as, trained_as) != kind:
        raise ElicitError(f"{where}: trained as {trained_as!r}, which is not stored as architecture {kind!r}.")
    processed = metadata.model_from_pretrained_kwargs
    return LoadedWeights(
        coder=CentredCoder(coder) if needs_centring(processed) else coder,
        rows=compute_decoder_rows(coder),
        linear=cfg.normalize_activations == "none",
        model=metadata.model_name or "unknown",
        hook=metadata.hook_name,
        tensors=coder.state_dict(),
        kinds=(kind, trained_as) if isinstance(trained_as, str) and trained_as != kind else (kind,),
        k=float(k) if isinstance(k, int | float) else None,
        training={"model_from_pretrained_kwargs": processed} if processed else None,
    )


def _check_shapes(path: Path, config: SAELensConfig) -> None:
    d_in, d_sae, kind = config.d_in, config.d_sae, config.architecture
    vectors = _SHAPED_LIKE_B_ENC.get(kind, ("b_enc",))
    if kind == "jumprelu" and "log_threshold" in read_tensor_shapes(path)[0]:
        vectors = ("b_enc", "log_threshold")
    check_header(
        path,
        {"W_enc": [d_in, d_sae], "W_dec": [d_sae, d_in], "b_dec": [d_in], **{name: [d_sae] for name in vectors}},
        because=f"cfg.json says d_in {one_line(d_in, 40)}, d_sae {one_line(d_sae, 40)}, architecture {kind}",
    )


def check_header(path: Path, expected: dict[str, list[int]], *, because: str) -> dict[str, str]:
    """The dtypes of a safetensors file's tensors, once their shapes are as expected. Reads no tensor.

    Raises:
        ElicitError: a damaged file, or a tensor that is missing, of another shape or of whole numbers.
    """
    shapes, dtypes = read_tensor_shapes(path)
    for name, shape in expected.items():
        if name not in shapes:
            there = one_line(", ".join(sorted(shapes)), 160)
            raise ElicitError(f"{path} has no tensor {name} of shape {one_line(shape, 60)}. Its tensors: {there}.")
        if shapes[name] != shape:
            raise ElicitError(f"{path}: {name} has shape {shapes[name]}, expected {one_line(shape, 60)}: {because}.")
        if not dtypes[name].startswith(("F", "BF")):
            raise ElicitError(f"{path}: {name} is of dtype {dtypes[name]}, expected floating point.")
    return dtypes


def read_tensor_shapes(path: Path) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Shapes and dtypes of a safetensors file's tensors. Raises ElicitError for a damaged file."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: list(part.get_shape()) for name, part in parts.items()}
            return shapes, {name: str(part.get_dtype()) for name, part in parts.items()}
    except Exception as error:  # safetensors' own errors, the file system's, and broken headers'
        raise ElicitError(f"{path} is damaged: {one_line(error, 120)}.") from None


def compute_decoder_rows(coder: Any) -> torch.Tensor:
    """Decoder rows [d_sae d_in] as `decode` uses them, in float32."""
    rows: torch.Tensor = coder.W_dec.detach().float()
    if getattr(coder.cfg, "rescale_acts_by_decoder_norm", False):
        rows = rows / rows.norm(dim=-1, keepdim=True)
    return rows
