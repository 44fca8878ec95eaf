"""The folder of one source, in the layout of Neuronpedia's exports.

FOLDER/MODEL_ID/LAYER-SOURCE_SET/
  model.jsonl  release.jsonl  sourceset.jsonl  source.jsonl        one line each
  features/batch-0.jsonl.gz ...   activations/batch-0.jsonl.gz ... the same features in batches of the same number
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError, one_line
from elicit.interop.neuronpedia.records import Address, build_activation_records, build_feature_record
from elicit.runs import fresh_folder

if TYPE_CHECKING:
    from saes.dashboard import Study

#: The user to whom Neuronpedia's own tools attribute data in a new instance (DEFAULT_CREATOR_ID).
_CREATOR = "clkht01d40000jv08hvalcvly"
_BATCH = 1024
_NAME = re.compile(r"[a-z0-9_-]{1,128}")


def write_neuronpedia_export(
    study: Study,
    folder: str | Path,
    *,
    source_set: str | None = None,
    model_id: str | None = None,
    features: Sequence[int] | None = None,
    creator_id: str = _CREATOR,
    creator_name: str = "",
    layers: int = 0,
) -> Path:
    """Write the features of a study for import into Neuronpedia; the folder is there whole or not at all.

    Args:
        study: from `saes.dashboard.study`.
        folder: a new folder.
        source_set: name of the source set, without the layer, such as res-512; by default after the SAE.
        model_id: the model's id on Neuronpedia, such as gpt2-small; by default after the model that the SAE names.
        features: which to write; None for all that were looked at, silent ones included.
        creator_id: id of the user in the instance.
        creator_name: printed beside the release.
        layers: how many layers the model has; 0 where it is known to the instance already.

    Returns:
        The source's folder inside `folder`.

    Raises:
        ElicitError: a folder that exists, names that Neuronpedia does not take, or features that were not collected.
    """
    target = Path(folder)
    check_export(target, model_id=model_id, source_set=source_set)
    address = Address(
        model_id or _derive_name(study.sae.manifest.model),
        source_set or _derive_name(study.sae.name),
        study.sae.layer,
        creator_id,
        datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
    chosen = sorted(set(study.collected.features if features is None else features))
    for feature in chosen:
        study.collected.get_activity(feature)
    with fresh_folder(target) as scratch:
        source = scratch / address.model_id / address.source_id
        for name in ("features", "activations"):
            (source / name).mkdir(parents=True)
        for name, record in _build_source_records(study, address, creator_name, layers).items():
            (source / f"{name}.jsonl").write_bytes(_encode_lines([record]))
        for number, start in enumerate(range(0, len(chosen), _BATCH)):
            batch = chosen[start : start + _BATCH]
            rows = [build_feature_record(study, feature, address) for feature in batch]
            examples = [record for feature in batch for record in build_activation_records(study, feature, address)]
            for name, records in (("features", rows), ("activations", examples)):
                content = gzip.compress(_encode_lines(records), compresslevel=5, mtime=0)
                (source / name / f"batch-{number}.jsonl.gz").write_bytes(content)
    return target / address.model_id / address.source_id


def check_export(target: Path, *, model_id: str | None = None, source_set: str | None = None) -> None:
    """Check before anything is read what `write_neuronpedia_export` would refuse.

    Raises:
        ElicitError: something exists there already, or a name that Neuronpedia does not take.
    """
    if os.path.lexists(target):
        raise ElicitError(f"{target} exists already. Remove it, or name another folder.")
    for what, name in (("model_id", model_id), ("source_set", source_set)):
        if name is not None and not _NAME.fullmatch(name):
            raise ElicitError(
                f"neuronpedia: {what} is {one_line(repr(name), 60)}; expected lower-case letters, digits, - and _, "
                "such as gpt2-small."
            )


def _build_source_records(
    study: Study, address: Address, creator_name: str, layers: int
) -> Mapping[str, dict[str, Any]]:
    """The rows of Model, SourceRelease, SourceSet and Source, by file name. They refer to each other."""
    manifest, collected = study.sae.manifest, study.collected
    stamp = {"creatorId": address.creator_id, "createdAt": address.created_at, "visibility": "PUBLIC"}
    release = f"{address.model_id}-{address.source_set}"
    about = f"{manifest.architecture} SAE, {study.sae.d_sae:,} features, at {manifest.hook} of {manifest.model}"
    text = f"{collected.tokens:,} tokens, sha256 {collected.text_sha256}"
    return {
        "model": {
            "id": address.model_id, "instruct": False, "displayNameShort": manifest.model,
            "displayName": manifest.model, "dimension": study.sae.directions.shape[1], "layers": layers,
            "neuronsPerLayer": 0, "owner": "", "inferenceEnabled": False, "updatedAt": address.created_at, **stamp,
        },
        "release": {
            "name": release, "description": about, "descriptionShort": about, "urls": [],
            "creatorName": creator_name, "creatorNameShort": creator_name, "isNewUi": False, "featured": False,
            "defaultUmapSourceIds": [], **stamp,
        },
        "sourceset": {
            "modelId": address.model_id, "name": address.source_set, "hasDashboards": True, "description": about,
            "type": "", "creatorName": creator_name, "urls": [], "releaseName": release, "defaultRange": 1,
            "defaultShowBreaks": True, "showDfa": False, "showCorrelated": False, "showHeadAttribution": False,
            "showUmap": False, **stamp,
        },
        "source": {
            "id": address.source_id, "modelId": address.model_id, "setName": address.source_set, "hasDashboards": True,
            "inferenceEnabled": False, "hasUmap": False, "hasUmapLogSparsity": False, "hasUmapClusters": False,
            "num_prompts": collected.sequences, "num_tokens_in_prompt": None, "dataset": study.text or None,
            "notes": f"{text}; SAE sha256 {study.sae.sha256}",
            **stamp,
        },
    }  # fmt: skip


def _encode_lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    """JSON lines. A value that is not finite is refused: JSON has no sign for it."""
    return "".join(json.dumps(record, allow_nan=False) + "\n" for record in records).encode()


def _derive_name(name: str) -> str:
    """A name as Neuronpedia takes it, from the last two parts of a path or a hub id."""
    return re.sub(r"[^a-z0-9_-]+", "-", "-".join(name.split("/")[-2:]).lower()).strip("-")[:128] or "local"
