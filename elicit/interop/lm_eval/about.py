"""A policy as lm-eval describes it: its hash, facts for the results file, its chat template, its table in a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from elicit.errors import ElicitError, one_line
from elicit.loading.templates import TemplateError
from elicit.model import BaseModel
from elicit.policy import Policy


def hash_policy_settings(policy: Policy, *settings: object) -> str:
    """Hash of everything that decides what a policy answers."""
    model = policy.model
    parts = [policy.sha256, model.tokenizer_sha256, str(model.dtype), *settings]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def build_model_info(policy: Policy, **settings: object) -> dict[str, Any]:
    """Build the facts that lm-eval's results hold besides the model's name and arguments."""
    model = policy.model
    return {
        "model_num_parameters": sum(p.numel() for p in model.hf.parameters()),
        "model_dtype": str(model.dtype),
        "model_revision": None,
        "model_sha": model.weights_sha256,
        "elicit": {
            "policy_sha256": policy.sha256,
            "policy": repr(policy),
            **settings,
            **policy.meaning(),
            "steering": [str(edit) for edit in policy.steering],
            "trained_values": None if policy.weights is None else policy.weights.parameters,
            "readout": None if policy.readout is None else str(policy.readout),
        },
    }


def use_policy_table(answers: Any, name: str) -> None:
    """Let lm-eval's cache (a `SqliteDict`, which knows requests only) keep a policy's answers in a table of its own."""
    answers.tablename = f"elicit-{name}"
    answers.conn.execute(f'CREATE TABLE IF NOT EXISTS "{answers.tablename}" (key TEXT PRIMARY KEY, value BLOB)')
    answers.conn.commit()


def render_messages(
    model: BaseModel, messages: Sequence[Mapping[str, str]], prompted: bool, warn: Callable[[str], None]
) -> str:
    """Messages as text. Without the generation prompt the last message is left open, to be continued.

    Raises:
        ElicitError: a tokenizer without a chat template, or one that cannot render these messages.
    """
    if model.chat is None:
        raise ElicitError(f"lm-eval: {model.name} has no chat template. Leave out --apply_chat_template.")
    try:
        return model.chat.render(messages, prompted=prompted, continued=not prompted)
    except TemplateError as error:  # many raise on a system message
        others = [message for message in messages if message["role"] != "system"]
        if len(others) == len(messages):
            raise ElicitError(f"lm-eval: the chat template fails: {one_line(error.why, 160)}") from error
        warn(f"the chat template takes no system message, which is left out: {one_line(error.why, 120)}")
        return render_messages(model, others, prompted, warn)
