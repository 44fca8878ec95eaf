"""A damaged model folder is one line that says so, or a model; never a traceback, a long report, a hang or a flood."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from elicit.errors import ElicitError
from elicit.loading import load_transformers
from tests.fuzz.model_folders import damaged_model, saved_models
from tests.fuzz.policies import tally


def _check(seeds: range) -> None:
    saved_models()  # made here, once, and not in every fork
    counts, wrong = tally([damaged_model(seed) for seed in seeds])
    print(f"{len(seeds)} damaged model folders: {dict(counts)}")
    assert not wrong, "\n\n".join(wrong[:5])
    assert counts["refused"] > len(seeds) / 3, "otherwise the damage does no harm"


def test_fifteen_damaged_model_folders() -> None:
    _check(range(20, 35))


@pytest.mark.slow
def test_three_hundred_damaged_model_folders() -> None:
    _check(range(1000, 1300))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_hidden_layers": 10**12}, "layers, but its weights are only"),
        ({"num_hidden_layers": 10**12, "layer_types": None}, "layers, but its weights are only"),
        ({"num_hidden_layers": -1, "layer_types": None}, "num_hidden_layers"),
        ({"vocab_size": 10**12}, "vocab_size 1000000000000, but no tensor"),
        ({"hidden_size": "32"}, "hidden_size"),
        ({"num_attention_heads": None}, "num_attention_heads"),
        ({"intermediate_size": 64}, "is 48, 32 in the file and 64, 32 by the config"),
        ({"layer_types": 3}, "layer_types"),
    ],
)
def test_what_config_json_says_wrongly_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], fields: dict[str, object], said: str
) -> None:
    folder = Path(shutil.copytree(saved_models()["qwen2"], tmp_path / "model"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    capfd.readouterr()
    with pytest.raises(ElicitError) as caught:
        load_transformers(folder, device="cpu")
    assert said in str(caught.value).replace("[", "").replace("]", "")
    assert len(str(caught.value)) < len(str(folder)) + 400
    assert capfd.readouterr() == ("", ""), "transformers' own report stands before the line"
