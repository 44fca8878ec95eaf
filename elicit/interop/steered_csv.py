"""lm-eval's CSV of steering, one row per edit of an SAE's feature, written; `elicit.vectors.lm_eval_csv` reads it.

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
from typing import Any

import saes
from elicit import runs
from elicit.errors import ElicitError
from elicit.interop.lm_eval.sparsify import write_sparsify
from elicit.interop.lm_eval.steering import (
    LmEvalEdit,
    export_edits,
    find_parallel_row,
    is_parallel,
    write_pt,
)
from elicit.policy import Policy
from elicit.vectors.lm_eval_csv import COLUMNS, SteeringRow, get_coder_module, read_decoder_bias, read_decoder_row
from saes.sae import SAE, Feature


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
        row, bias = read_decoder_row(sae, feature.index), read_decoder_bias(sae)
    else:
        folder = write_sparsify(sae, target.parent / "sparse", hookpoint)
        sparse_model, row, bias = str(folder.resolve()), sae.directions[feature.index], read_decoder_bias(sae)
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


def _is_saelens_sae(sae: SAE) -> bool:
    return hasattr(get_coder_module(sae), "cfg")
