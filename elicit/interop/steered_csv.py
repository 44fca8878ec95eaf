"""lm-eval's CSV of steering, one row per edit of an SAE's feature, read and written.

    loader,action,sparse_model,hookpoint,feature_index,steering_coefficient,head_index,sae_id,description
    sparsify,add,steering/sparse,layers.1,411,443.2,,,feature cued/L1/411
    sae_lens,clamp,gemma-scope-2b-pt-res-canonical,layers.20,12082,240.0,,layer_20/width_16k/canonical,

`lm_eval_steering` has what a row means. In lm-eval 0.4.13 a row with action `add` fails: its CSV reader gives every row
the SAE's bias, and an assertion wants none for `add`. The assertion is all that is wrong: `python -O -m lm_eval` runs
such rows as they are meant, and the same steering as a `.pt` file needs nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import saes
from elicit import runs
from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.interop.lm_eval.sparsify import write_sparsify
from elicit.interop.lm_eval.steering import (
    LmEvalEdit,
    edit_from_lm_eval,
    export_edits,
    find_hookpoints,
    find_parallel_row,
    is_parallel,
    write_pt,
)
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.steering import Steering
from saes.sae import SAE, Feature

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


def write_steering(policy: Policy, folder: str | Path, *, dictionaries: Sequence[SAE] = ()) -> list[Path]:
    """`steer.pt`, and `steer.csv` where every edit is a feature of an SAE that lm-eval can load. Returns what it wrote.

    Raises:
        ElicitError: steering that means something else in lm-eval.
    """
    output_folder = Path(folder)
    written = [write_pt(policy, output_folder / "steer.pt")]
    if all(_find_edit_feature(edit, policy, dictionaries) is not None for edit in export_edits(policy)):
        written.append(write_csv(policy, output_folder / "steer.csv", dictionaries=dictionaries))
    return written


def write_csv(policy: Policy, path: str | Path, *, dictionaries: Sequence[SAE] = ()) -> Path:
    """A policy's steering as a CSV. An SAE that is no release is written beside it, in Sparsify's format.

    Args:
        dictionaries: SAEs to look for an edit's direction in, beside those the policy's record names.

    Raises:
        ElicitError: steering that means something else in lm-eval, a direction that is no feature's, or an SAE that
            lm-eval cannot load.
    """
    target = Path(path)
    if target.suffix != ".csv":
        raise ElicitError(f"{path}: lm-eval tells steering files by their ending. Type a name that ends in .csv.")
    rows = []
    for edit in export_edits(policy):
        feature = _find_edit_feature(edit, policy, dictionaries)
        if feature is None:
            raise ElicitError(
                f"lm-eval steering: {edit.edit} is not a decoder row of a known SAE, and a CSV names features. "
                "Write a .pt file, or name its SAE."
            )
        rows.append(_build_steering_row(edit, feature, target))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    with runs.writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        runs.write_text(target, text.getvalue())
    return target


def _build_steering_row(edit: LmEvalEdit, feature: Feature, target: Path) -> SteeringRow:
    sae, hookpoint = feature.sae, edit.hookpoint
    loader, sparse_model, sae_id = "sparsify", "", ""
    release, colon, rest = sae.name.partition(":")
    if colon and not Path(sae.name).exists():
        loader, sparse_model, sae_id = (
            ("sae_lens", release, rest) if _is_saelens_sae(sae) else ("sparsify", release, "")
        )
        if loader == "sparsify" and rest != hookpoint:
            raise ElicitError(f"lm-eval steering: {sae.name} lies under {rest!r}, lm-eval looks under {hookpoint!r}.")
        row, bias = _read_decoder_row(sae, feature.index), _read_decoder_bias(sae)
    else:
        folder = write_sparsify(sae, target.parent / "sparse", hookpoint)
        sparse_model, row, bias = str(folder.resolve()), sae.directions[feature.index], _read_decoder_bias(sae)
    if edit.action == "add":
        value = edit.coefficient / float(row.norm())
    else:
        value = edit.coefficient - float(bias.cpu() @ edit.edit.direction)
    return SteeringRow(loader, edit.action, sparse_model, hookpoint, feature.index, value, "", sae_id, edit.edit.label)


def _find_edit_feature(edit: LmEvalEdit, policy: Policy, dictionaries: Sequence[SAE]) -> Feature | None:
    """The feature an edit points along: its own, one the policy's record names, or one of `dictionaries`."""
    if edit.edit.feature is not None:
        return edit.edit.feature
    for name, index in _iter_record_features(policy.record):
        feature = saes.load(name).feature(index)
        if feature.sae.d_model == edit.edit.d_model and is_parallel(feature.direction, edit.edit.direction):
            return feature
    for sae in dictionaries:
        row_index = find_parallel_row(edit.edit.direction, sae.directions) if sae.d_model == edit.edit.d_model else None
        if row_index is not None:
            return sae.feature(row_index)
    return None


def _iter_record_features(record: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for entry in record.get("features") or ():
        if isinstance(entry, Mapping) and isinstance(entry.get("sae"), str) and isinstance(entry.get("feature"), int):
            yield entry["sae"], entry["feature"]


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
            _read_decoder_row(sae, row.feature_index),
            row.steering_coefficient,
            bias=_read_decoder_bias(sae),
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


def _get_coder_module(sae: SAE) -> Any:
    return getattr(sae.coder, "inner", sae.coder)  # Centred holds the loaded one


def _is_saelens_sae(sae: SAE) -> bool:
    return hasattr(_get_coder_module(sae), "cfg")


def _read_decoder_row(sae: SAE, index: int) -> torch.Tensor:
    """The decoder row as it is stored: what lm-eval multiplies, whatever the SAE's own scale."""
    sae.feature(index)  # raises for an index that is not there
    row: torch.Tensor = _get_coder_module(sae).W_dec[index]
    return row.detach().float().cpu()


def _read_decoder_bias(sae: SAE) -> torch.Tensor:
    bias: torch.Tensor = _get_coder_module(sae).b_dec
    return bias.detach().float().cpu()
