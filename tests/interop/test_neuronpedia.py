"""Neuronpedia's import files: against the columns of its database, and against the study they were made from."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elicit.errors import ElicitError
from elicit.interop.neuronpedia import build_vector_request, write_neuronpedia_export
from elicit.seeds import make_generator
from elicit.steering import Steering
from saes import dashboard
from saes.dashboard import Study, Vocabulary
from tests.saes.hostile import STRINGS
from tests.saes.tiny_sae import tiny_sae
from tests.support.comparisons import elicit
from tests.support.tiny import tiny

#: Columns and types of apps/webapp/prisma/schema.prisma at 008d504, without relations. `!`: must be there.
SCHEMA = {
    "model": """id String! displayNameShort String displayName String creatorId String! tlensId String? dimension
        Int? visibility Visibility inferenceEnabled Boolean instruct Boolean layers Int! neuronsPerLayer
        Int! createdAt DateTime owner String! updatedAt DateTime website String?""",
    "release": """name String! visibility Visibility isNewUi Boolean featured Boolean description String!
        descriptionShort String? urls String[] creatorEmail String? creatorName String! creatorNameShort
        String? creatorId String! defaultSourceSetName String? defaultSourceId String? defaultUmapSourceIds
        String[] createdAt DateTime""",
    "sourceset": """modelId String! name String! hasDashboards Boolean visibility Visibility description String! type
        String creatorName String! urls String[] creatorEmail String? creatorId String! releaseName String?
        defaultRange Int defaultShowBreaks Boolean showDfa Boolean showCorrelated Boolean
        showHeadAttribution Boolean showUmap Boolean createdAt DateTime""",
    "source": """id String! modelId String! hasDashboards Boolean inferenceEnabled Boolean saelensRelease String?
        saelensSaeId String? hfRepoId String? hfFolderId String? visibility Visibility setName String!
        creatorId String! hasUmap Boolean hasUmapLogSparsity Boolean hasUmapClusters Boolean num_prompts
        Int? num_tokens_in_prompt Int? dataset String? notes String? createdAt DateTime""",
    "features": """modelId String! layer String! index String! sourceSetName String? creatorId String? createdAt
        DateTime maxActApprox Float? hasVector Boolean vector Float[] vectorLabel String?
        vectorDefaultSteerStrength Float? hookName String? topkCosSimIndices Int[] topkCosSimValues Float[]
        neuron_alignment_indices Int[] neuron_alignment_values Float[] neuron_alignment_l1 Float[]
        correlated_neurons_indices Int[] correlated_neurons_pearson Float[] correlated_neurons_l1 Float[]
        correlated_features_indices Int[] correlated_features_pearson Float[] correlated_features_l1 Float[]
        neg_str String[] neg_values Float[] pos_str String[] pos_values Float[] frac_nonzero Float
        freq_hist_data_bar_heights Float[] freq_hist_data_bar_values Float[] logits_hist_data_bar_heights
        Float[] logits_hist_data_bar_values Float[] decoder_weights_dist Float[]""",
    "activations": """id String! tokens String[] dataIndex String? index String! layer String! modelId String!
        dataSource String? maxValue Float! maxValueTokenIndex Int! minValue Float! values Float[] dfaValues Float[]
        dfaTargetIndex Int? dfaMaxValue Float? creatorId String! createdAt DateTime lossValues Float[]
        logitContributions String? binMin Float? binMax Float? binContains Float? qualifyingTokenIndex Int?""",
}


def _fits(value: Any, kind: str) -> bool:
    if kind.endswith("[]"):
        return isinstance(value, list) and all(_fits(entry, kind[:-2]) for entry in value)
    if kind.endswith("?") and value is None:
        return True
    base = kind.rstrip("?!")
    if base == "Float":
        return type(value) in (int, float) and np.isfinite(value)
    if base == "DateTime":
        return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value) is not None
    if base == "Visibility":
        return value in ("PUBLIC", "PRIVATE", "UNLISTED")
    return type(value) is {"String": str, "Int": int, "Boolean": bool}[base]


def _read(source: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row by table, each checked against the schema; text must be what Postgres takes."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(source.rglob("*.jsonl*")):
        table = path.parent.name if path.parent != source else path.stem
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert b"\\u0000" not in raw
        json.loads(raw.splitlines()[0])
        tables.setdefault(table, []).extend(json.loads(line) for line in raw.splitlines())
    assert tables.keys() == SCHEMA.keys()
    for table, rows in tables.items():
        words = SCHEMA[table].split()
        columns = dict(zip(words[::2], words[1::2], strict=True))
        for row in rows:
            assert row.keys() <= columns.keys(), row.keys() - columns.keys()
            assert {name for name, kind in columns.items() if kind.endswith("!")} <= row.keys()
            wrong = {name: row[name] for name in row if not _fits(row[name], columns[name])}
            assert not wrong
            json.dumps(row, ensure_ascii=False).encode("utf-8")
    return tables


@pytest.fixture(scope="module")
def study() -> Study:
    hf, tokenizer = tiny("llama")
    rng = make_generator("neuronpedia")
    sequences = [(1, *rng.integers(4, 60, int(rng.integers(5, 25))).tolist()) for _ in range(60)]
    study = dashboard.study(hf, tokenizer, tiny_sae(), sequences, text="random tokens", examples=4)
    texts = [STRINGS[i % len(STRINGS)] for i in range(200)]
    return dataclasses.replace(study, vocabulary=Vocabulary(lambda i: texts[i], frozenset({1})))


def test_rows_fit_the_schema_and_say_what_the_study_says(study: Study, tmp_path: Path) -> None:
    source = write_neuronpedia_export(study, tmp_path / "np", model_id="gpt2-small", source_set="res-24")
    assert source == tmp_path / "np" / "gpt2-small" / "1-res-24"
    tables = _read(source)
    # Keys of one table that another refers to.
    assert {row["modelId"] for name in ("sourceset", "source", "features") for row in tables[name]} == {"gpt2-small"}
    assert tables["source"][0]["setName"] == tables["sourceset"][0]["name"] == "res-24"
    assert tables["sourceset"][0]["releaseName"] == tables["release"][0]["name"]
    assert {row["layer"] for name in ("features", "activations") for row in tables[name]} == {tables["source"][0]["id"]}
    assert [int(row["index"]) for row in tables["features"]] == list(range(24))
    assert len({row["id"] for row in tables["activations"]}) == len(tables["activations"])
    for row in tables["features"]:
        feature = int(row["index"])
        activity = study.collected.get_activity(feature)
        assert row["frac_nonzero"] == activity.count / activity.tokens
        assert row["vector"] == study.sae.directions[feature].tolist()
        assert row["hookName"] == "blocks.1.hook_resid_post"
        assert sum(row["freq_hist_data_bar_heights"]) == pytest.approx(activity.count)
        if activity.count:  # the mean that the bars spell is the true one, up to a bar's width
            heights, values = (np.array(row[f"freq_hist_data_bar_{part}"]) for part in ("heights", "values"))
            assert heights @ values / activity.count == pytest.approx(activity.mean, abs=activity.maximum / 50)
        largest = max(range(32), key=lambda i: abs(row["vector"][i]))
        assert row["neuron_alignment_indices"][0] == largest
        examples = [entry for entry in tables["activations"] if entry["index"] == row["index"]]
        tops = [entry for entry in examples if entry["binContains"] == -1]
        assert len(examples) == len(activity.top) + sum(len(band.examples) for band in activity.bands)
        assert [entry["values"][entry["qualifyingTokenIndex"]] for entry in tops] == pytest.approx(
            [example.value for example in activity.top]
        )
        assert bool(examples) == bool(activity.count)
        for entry in examples:
            assert len(entry["tokens"]) == len(entry["values"])
            assert entry["values"][entry["maxValueTokenIndex"]] == entry["maxValue"] == max(entry["values"])
            if entry["binContains"] != -1:
                peak = entry["values"][entry["qualifyingTokenIndex"]]
                assert entry["binMin"] * (1 - 1e-6) <= peak <= entry["binMax"] * (1 + 1e-6)
                assert 0 < entry["binContains"] <= 1
    assert any(not study.collected.get_activity(i).count for i in range(24)), "a silent feature is among them"


def test_what_neuronpedia_does_not_take_is_refused(study: Study, tmp_path: Path) -> None:
    for options, message in [
        ({"model_id": "Qwen2.5"}, "model_id is 'Qwen2.5'"),
        ({"source_set": "a/b"}, "source_set is 'a/b'"),
        ({"features": [3, 99]}, "feature 99"),
    ]:
        with pytest.raises(ElicitError, match=message):
            write_neuronpedia_export(study, tmp_path / "np", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    write_neuronpedia_export(study, tmp_path / "np", features=[3])
    with pytest.raises(ElicitError, match="exists already"):
        write_neuronpedia_export(study, tmp_path / "np")


def test_a_vector_adds_there_what_it_adds_here() -> None:
    """Adding the request's vector before block l + 1, by a hook of plain torch, is the edit after block l."""
    hf, _ = tiny("llama")
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    edit = Steering(vector, layer=0, strength=2.0, unit=1.5, positions="all", label="mine")
    n_layers = hf.config.num_hidden_layers
    body = build_vector_request(edit, model_id="gpt2-small", n_layers=n_layers)
    assert {name: type(value) for name, value in body.items()} == {
        "modelId": str, "layerNumber": int, "hookType": str, "vector": list, "vectorDefaultSteerStrength": float,
        "vectorLabel": str,
    }  # fmt: skip
    added = body["vectorDefaultSteerStrength"] * torch.tensor(body["vector"])

    def compute_logits(module: Any, *, before: bool) -> torch.Tensor:
        if before:
            handle = module.register_forward_pre_hook(lambda _, args: (args[0] + added, *args[1:]))
        else:
            handle = module.register_forward_hook(
                lambda _, __, out: (
                    (out[0] + 3.0 * edit.direction, *out[1:]) if isinstance(out, tuple) else out + 3.0 * edit.direction
                )
            )
        try:
            with torch.no_grad():
                logits: torch.Tensor = hf(torch.tensor([[1, 5, 9, 12]])).logits
        finally:
            handle.remove()
        return logits

    assert body["hookType"] == "hook_resid_pre"
    there = compute_logits(hf.model.layers[body["layerNumber"]], before=True)
    here = compute_logits(hf.model.layers[0], before=False)
    assert torch.allclose(there, here, atol=1e-5)
    first = build_vector_request(dataclasses.replace(edit, positions="first"), model_id="m", n_layers=n_layers)
    assert first["vectorLabel"] == "mine (found at positions first)"
    for wrong in ({"layer": n_layers - 1}, {"mode": "scale"}):
        with pytest.raises(ElicitError, match="neuronpedia"):
            build_vector_request(dataclasses.replace(edit, **wrong), model_id="m", n_layers=n_layers)


def test_the_command_line_writes_pages_and_export_from_one_reading(tmp_path: Path) -> None:
    out, folder = tmp_path / "pages", tmp_path / "np"
    arguments = ("sae", "dashboard", "cued/L1", "--tokens", 1000, "--task", "addition", "--features", "3,17")
    done = elicit(*arguments, "--out", out, "--neuronpedia", folder, "--neuronpedia-model", "my-cued")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [str(out / "index.html"), str(folder / "my-cued" / "1-cued-l1")]
    tables = _read(folder / "my-cued" / "1-cued-l1")
    assert [row["index"] for row in tables["features"]] == ["3", "17"]
    again = elicit(*arguments, "--out", tmp_path / "new", "--neuronpedia", folder)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "exists already" in again.err
    assert not (tmp_path / "new").exists()
    lone = elicit(*arguments, "--out", tmp_path / "new", "--neuronpedia-model", "x")
    assert lone.code == 2
    named = elicit(*arguments, "--out", tmp_path / "new", "--neuronpedia", tmp_path / "b", "--neuronpedia-set", "A")
    assert (named.code, named.err.count("\n")) == (2, 1), "names are checked before anything is read"
