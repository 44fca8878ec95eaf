"""Reading of lm-eval's CSV of steering: one row an edit of an SAE's feature, at all positions."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

import saes
from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.model import BaseModel
from elicit.steering import Steering
from elicit.vectors.lm_eval import edit_from_lm_eval, find_hookpoints
from saes.sae import SAE

COLUMNS = (
    *("loader", "action", "sparse_model", "hookpoint", "feature_index", "steering_coefficient"),
    *("head_index", "sae_id", "description"),
)
LOADERS = ("sparsify", "sae_lens")


class SteeringRow(NamedTuple):
    """One line."""

    loader: str
    action: str
    sparse_model: str
    hookpoint: str
    feature_index: int
    steering_coefficient: float
    head_index: str = ""
    sae_id: str = ""
    description: str = ""


def read_csv(path: str | Path, model: BaseModel, *, download: bool = False) -> tuple[Steering, ...]:
    """The steering of a CSV, for `model`: what lm-eval means by it, at all positions.

    Args:
        download: whether SAEs that are not on this machine may be fetched.

    Raises:
        ElicitError: a row that lm-eval would not take, an SAE that cannot be loaded, or an edit the lab does not have.
    """
    edits: dict[str, Steering] = {}
    for row, where in _iter_steering_rows(Path(path)):
        sae = _load_row_sae(row, where, download)
        hookpoint = row.hookpoint or _find_layer_hookpoint(sae.layer, model, where)
        if hookpoint in edits:
            raise ElicitError(f"{where}: a second edit at {hookpoint}; lm-eval would forget the first.")
        feature = sae.feature(row.feature_index)
        edit = edit_from_lm_eval(
            model,
            hookpoint,
            row.action,
            read_decoder_row(sae, row.feature_index),
            row.steering_coefficient,
            bias=read_decoder_bias(sae),
            label=f"feature {feature.label}" if row.action == "add" else f"projection on {feature.label}",
            where=where,
        )
        edits[hookpoint] = edit
    if not edits:
        raise ElicitError(f"{path} holds no row of steering.")
    return tuple(edits.values())


def _iter_steering_rows(path: Path) -> Iterator[tuple[SteeringRow, str]]:
    try:
        lines = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ElicitError(f"{path} cannot be read as a CSV: {one_line(error, 120)}") from None
    for number, line in enumerate(lines, start=2):
        where = f"{path}, line {number}"
        fields = {name: (value or "").strip() for name, value in line.items() if isinstance(value, str | None)}
        for name in ("sparse_model", "feature_index", "steering_coefficient"):
            if not fields.get(name):
                raise ElicitError(f"{where}: {name} is missing. The columns are: {', '.join(COLUMNS)}")
        if fields.get("head_index"):
            raise ElicitError(f"{where}: head_index is {fields['head_index']}; the lab steers whole residuals.")
        loader = fields.get("loader") or "sparsify"
        if loader not in LOADERS:
            raise unknown_name_error("loader", loader, LOADERS, where=where)
        try:
            index, value = int(float(fields["feature_index"])), float(fields["steering_coefficient"])
        except (ValueError, OverflowError):
            raise ElicitError(f"{where}: feature_index and steering_coefficient have to be numbers.") from None
        model, action = fields["sparse_model"], fields.get("action") or "add"
        yield (
            SteeringRow(loader, action, model, fields.get("hookpoint", ""), index, value, "", fields.get("sae_id", "")),
            where,
        )


def _find_layer_hookpoint(layer: int, model: BaseModel, where: str) -> str:
    for name, number in find_hookpoints(model).items():
        if number == layer:
            return name
    raise ElicitError(f"{where}: this SAE reads layer {layer}, which {model.name} does not have.")


def _load_row_sae(row: SteeringRow, where: str, download: bool) -> SAE:
    try:
        if row.loader == "sae_lens":
            return saes.load(f"{row.sparse_model}:{row.sae_id}", download=download)
        folder = Path(row.sparse_model) / row.hookpoint
        if Path(row.sparse_model).exists():
            return saes.load(folder if folder.is_absolute() else f"./{folder}")
        return saes.load(f"{row.sparse_model}:{row.hookpoint}", download=download)
    except ElicitError as error:
        raise ElicitError(f"{where}: {error}") from None


def get_coder_module(sae: SAE) -> Any:
    return getattr(sae.coder, "inner", sae.coder)  # Centred holds the loaded one


def read_decoder_row(sae: SAE, index: int) -> torch.Tensor:
    """The decoder row as it is stored: what lm-eval multiplies, whatever the SAE's own scale."""
    sae.feature(index)  # raises for an index that is not there
    row: torch.Tensor = get_coder_module(sae).W_dec[index]
    return row.detach().float().cpu()


def read_decoder_bias(sae: SAE) -> torch.Tensor:
    bias: torch.Tensor = get_coder_module(sae).b_dec
    return bias.detach().float().cpu()
