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
        ({"intermediate_size": 64}, " by the config"),  # of three tensors, whichever was read first
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


def test_the_misfit_is_named_to_those_who_want_to_hear_errors_alone(tmp_path: Path) -> None:
    from transformers.utils import logging

    folder = Path(shutil.copytree(saved_models()["qwen2"], tmp_path / "model"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 64}))
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with pytest.raises(ElicitError, match=" by the config"):
            load_transformers(folder, device="cpu")
        assert logging.get_verbosity() == logging.ERROR
    finally:
        logging.set_verbosity(before)


@pytest.mark.parametrize("value", [[[]], {"a": 1}, "</s>", 1.5, [1, None], True])
@pytest.mark.parametrize("field", ["bos_token_id", "eos_token_id", "pad_token_id"])
def test_special_ids_of_a_generation_config_are_numbers(tmp_path: Path, field: str, value: object) -> None:
    folder = Path(shutil.copytree(saved_models()["qwen2"], tmp_path / "model"))
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ElicitError, match=rf"generation_config.json of .*{field}"):
        load_transformers(folder, device="cpu")


def test_a_tokenizer_that_puts_an_unknown_token_around_texts_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The tokenizers library aborts, with a report on stderr."""
    folder = Path(shutil.copytree(saved_models()["qwen2"], tmp_path / "model"))
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<other>": {"id": "<other>", "ids": [1], "tokens": ["<bos>"]}},
    }
    document["post_processor"] = {"type": "Sequence", "processors": [template]}
    path.write_text(json.dumps(document))
    capfd.readouterr()
    with pytest.raises(ElicitError, match="'<bos>' around them"):
        load_transformers(folder, device="cpu")
    assert capfd.readouterr().err == ""
