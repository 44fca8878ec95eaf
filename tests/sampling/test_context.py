"""Prompt and completion within a model's positions: the last token that fits, and one more."""

from __future__ import annotations

import pytest
import torch

from elicit.context import context_length
from elicit.errors import ElicitError
from elicit.sampling import Decoding
from elicit.training.supervised import example
from saes.activations import stream
from tests.support.models import tiny_model

POSITIONS = 256
"""Of every tiny model."""


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_the_last_position_is_used_and_the_next_refused_before_any_forward(arch) -> None:
    model = tiny_model(arch)
    prompt = "x" * 246
    length = len(model.encode(prompt))
    room = POSITIONS - length
    full = Decoding(max_new_tokens=room + 1)  # the last token is sampled and never read
    done = model.sample([prompt], decoding=full)[0][0]
    ids = torch.tensor([model.encode(prompt)])
    expected = model.hf.generate(
        ids, max_new_tokens=room + 1, do_sample=False, eos_token_id=2, suppress_tokens=[0], use_cache=True
    )[0, length:]
    assert list(done.tokens) == expected.tolist()[: len(done.tokens)]
    assert len(done.tokens) == room + 1, "an earlier end would not reach the last position"

    calls: list[int] = []
    handle = model.hf.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(ElicitError, match=rf"{length} tokens .* {room + 2} new .* {POSITIONS} positions .* {room}\b"):
        model.sample(["x", prompt], decoding=Decoding(max_new_tokens=room + 2))
    with pytest.raises(ElicitError, match=f"{POSITIONS} positions"):
        model.score([prompt], ["y" * (room + 1)])
    with pytest.raises(ElicitError, match=f"{POSITIONS} positions"):
        model.residuals(["x" * POSITIONS])
    with pytest.raises(ElicitError, match=f"{POSITIONS} positions"):
        list(stream(model.hf, 0, [list(range(POSITIONS + 1))]))
    handle.remove()
    assert not calls
    assert len(model.score([prompt], ["y" * room])[0]) == room


def test_a_training_row_has_room_for_its_end_token() -> None:
    model = tiny_model("gpt2")
    prompt = "x" * 200
    fits = POSITIONS - len(model.encode(prompt)) - 1
    assert sum(map(len, example(model, prompt, "y" * fits, who="sft")[:2])) == POSITIONS
    with pytest.raises(ElicitError, match=f"^sft: .*{POSITIONS + 1} tokens"):
        example(model, prompt, "y" * (fits + 1), who="sft")


@pytest.mark.parametrize(
    ("kind", "options", "positions"),
    [
        ("gpt2", {"n_positions": 77}, 77),
        ("mpt", {"max_seq_len": 99}, 99),
        ("falcon", {"alibi": True}, None),
        ("falcon", {"max_position_embeddings": 88}, 88),
        ("bloom", {}, None),
        ("mamba", {}, None),
    ],
)
def test_positions_of_configs_in_memory_and_in_files(kind, options, positions) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **options)
    assert context_length(vars(config)) == positions
    assert context_length(config.to_dict()) == positions


@pytest.mark.parametrize(
    ("fields", "positions"),
    [
        ({"max_position_embeddings": 32768, "rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
        (
            {
                "max_position_embeddings": 4096, "max_sequence_length": 16384,
                "rope_scaling": {"type": "linear", "factor": 4},
            },
            16384,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "rope_parameters": {
                    "rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192,
                },
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 4096},
            },
            131072,
        ),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, None),
        ({"max_position_embeddings": 2048, "rope_parameters": {"rope_type": "default"}}, 2048),
    ],
)  # fmt: skip
def test_stretched_rotary_positions(fields, positions) -> None:
    """Qwen2.5 with YaRN, LongChat and Vicuna-16k, Llama 3.1, Phi-3 with 128k, dynamic NTK, none."""
    assert context_length(fields) == positions
