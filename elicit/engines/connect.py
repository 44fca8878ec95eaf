"""Give a model an outside engine, once it is shown that both hold the same model and that edits act there.

A server that holds other weights, or counts layers or positions in another way, would answer as fluently. So none is
trusted: a text is scored on both sides, plainly and with an edit at every position form.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import lru_cache

import torch

from elicit.engines.choice import TOKEN, VLLM
from elicit.engines.http import Connection
from elicit.engines.process import ServerProcess
from elicit.engines.same_text import check_same_text
from elicit.engines.vllm import VLLMEngine
from elicit.errors import ElicitError
from elicit.loading.load import prepare_model_folder
from elicit.model import BaseModel
from elicit.steering import Steering

_FORMS = ("all", "prompt", "generated", "first", "first:2", "decay:3")


def connect(model: BaseModel, choice: VLLM) -> VLLMEngine:
    """Let the policies of `model` run in vLLM.

    Raises:
        ElicitError: the server does not start or answer, or does not give this model's log-probabilities, plain or
            steered.
    """
    if model.in_memory:
        raise ElicitError("engine: vllm: a model in memory has no folder that another process could read. Save it.")
    choice.check()
    if choice.url is not None:
        connection = Connection(choice.url.rstrip("/"), os.environ[TOKEN])
    else:
        connection = _start_server(
            model.name,
            str(model.dtype).removeprefix("torch."),
            model.context_length,
            choice.model_copy(update={"rollouts": False}).key,
        )
    engine = VLLMEngine(connection, model.engine, rollouts=choice.rollouts)
    check_same_model(model, engine)
    model.outside = engine
    return engine


@lru_cache(maxsize=4)
def _start_server(name: str, dtype: str, context: int | None, key: str) -> Connection:
    """Start a server once for a model and choice; it lives as long as this process."""
    choice = VLLM.model_validate_json(key)
    assert choice.python is not None
    options = {"seed": 0, **({} if context is None else {"max_model_len": context + 1}), **choice.options}
    return ServerProcess(choice.python, prepare_model_folder(name), dtype=dtype, options=options).connection


def check_same_model(model: BaseModel, engine: VLLMEngine) -> None:
    """Score one text on both sides, plain and with an edit at every position form.

    Raises:
        ElicitError: log-probabilities differ by more than rounding; says where.
    """
    layer = model.n_layers // 2
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    unit = model.residual_norms.medians[layer]
    for form in (None, *_FORMS):
        edits = () if form is None else (Steering(vector, layer, 0.5, "add", form, unit),)
        with engine.open(None, edits) as elsewhere, model.steer(edits) if edits else nullcontext():
            where = "" if form is None else f"under an edit at {form!r} of layer {layer}"
            check_same_text(model.engine, elsewhere, where)
