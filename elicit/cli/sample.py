"""`elicit sample`: sample from a model, steered if you like."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments
from elicit.errors import ElicitError, one_line

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.steering import AnyEdit, Steering


@dataclass(frozen=True)
class SampleOptions:
    """Sample from a model. `\\n` in a prompt is a line break."""

    model: Positional[str]
    """Built-in organism, folder, GGUF file or hub id."""
    prompt: Positional[str]
    steer: str | None = None
    """feature:L2/417 for an SAE feature (of the shipped SAE at layer 2, or feature:FOLDER/417), vector:PATH of a policy
    folder (its own edits) or a vector file (`elicit export --to vectors`), or random:L2 for a random direction."""
    strength: float | None = None
    """In median residual norms. Default: the policy's own, else 1."""
    positions: str | None = None
    """all, prompt, generated, first, first:k or decay:k. Default: the policy's own, else first."""
    chat: bool = False
    """Put the prompt through the model's chat template, as a user's message."""
    system: str | None = None
    """A system message before it."""
    chat_template_kwargs: str | None = None
    """Values that the chat template reads, such as enable_thinking=false; several with commas between."""
    date: str | None = None
    """The day that a chat template is told which asks for it, such as 2026-01-31. Default: today."""
    n: int = 1
    """Samples."""
    temperature: float = 0.0
    max_new_tokens: int = 64
    seed: int = 0
    dtype: str = "auto"
    device: str = "auto"
    download: bool = False
    """Fetch a hub id that is not on this machine."""


def main(arguments: Sequence[str]) -> int:
    options = parse_arguments(SampleOptions, "sample", arguments)
    if options.n < 1:
        raise ElicitError(f"--n is {options.n}; expected at least 1.")
    if options.steer is None and (options.strength is not None or options.positions is not None):
        raise ElicitError("--strength and --positions need --steer.")
    for name, value in (
        ("system", options.system),
        ("chat-template-kwargs", options.chat_template_kwargs),
        ("date", options.date),
    ):
        if value is not None and not options.chat:
            raise ElicitError(f"--{name} needs --chat.")
    values = _parse_template_values(options.chat_template_kwargs)
    from elicit.loading.templates import parse_date
    from elicit.loading.vocabulary import find_missing_characters
    from elicit.model import load
    from elicit.sampling import Decoding

    decoding = Decoding(temperature=options.temperature, max_new_tokens=options.max_new_tokens)
    date = None if options.date is None else parse_date(options.date, "--date")
    model = load(options.model, dtype=options.dtype, device=options.device, download=options.download, date=date)
    prompt = _render_prompt(options, model, values)
    strange = find_missing_characters(model.tokenizer, [prompt])[0]
    if strange:
        raise ElicitError(
            f"the prompt has characters that the tokenizer of {model.name} has no token for: "
            f"{one_line(repr(strange), 60)}. Leave them out."
        )
    edits = _load_edits(options, model)
    print(f"{prompt!r}")
    for title, steered in (("base", ()), ("steered", edits)):
        if title == "steered" and not edits:
            continue
        context = model.steer(steered) if steered else contextlib.nullcontext()
        with context:
            completions = model.sample([prompt], n=options.n, seed=options.seed, decoding=decoding)[0]
        print(title if not steered else f"{title}: {'; '.join(map(str, steered))}")
        for completion in completions:
            print(f"  {completion.text!r}  ({len(completion.tokens)} tokens, {completion.finish})")
    return 0


def _parse_template_values(text: str | None) -> dict[str, Any]:
    """From `name=value,name=value`; values are written as in YAML."""
    import yaml

    values: dict[str, Any] = {}
    for part in text.split(",") if text is not None else ():
        name, sign, value = part.partition("=")
        try:
            values[name.strip()] = yaml.safe_load(value)
            json.dumps(values)
        except (yaml.YAMLError, TypeError, ValueError):
            sign = ""
        if not sign or not name.strip():
            raise ElicitError(f"--chat-template-kwargs has {part!r}; expected name=value: enable_thinking=false")
    return values


def _render_prompt(options: SampleOptions, model: BaseModel, values: dict[str, Any]) -> str:
    text = options.prompt.replace("\\n", "\n")
    if not options.chat:
        return text
    from elicit.loading.templates import TemplateError

    if model.chat is None:
        raise ElicitError(f"--chat: the tokenizer of {model.name} has no chat template. Leave --chat out.")
    chat = model.chat.with_values(values)
    system = [] if options.system is None else [{"role": "system", "content": options.system}]
    try:
        prompt = chat([*system, {"role": "user", "content": text}])
    except TemplateError as error:
        remedy = "--chat" if options.system is None else "--system"
        raise ElicitError(
            f"--chat: the chat template of {model.name} cannot render this: {error.why} Leave {remedy} out."
        ) from None
    if chat.tells_date:
        print(f"the chat template is told the day {model.date}", file=sys.stderr)
    thinking = chat.find_thinking_switch(options.system)
    if thinking is not None and not thinking.given:
        print(
            f"the chat template reads {thinking.switch}, which is not given: {thinking.state}. "
            f"Type: --chat-template-kwargs {thinking.switch}=false (or true)",
            file=sys.stderr,
        )
    return prompt


def _load_edits(options: SampleOptions, model: BaseModel) -> tuple[AnyEdit, ...]:
    from elicit import steering

    if options.steer is None:
        return ()
    kind, _, rest = options.steer.partition(":")
    edits: tuple[AnyEdit, ...]
    if kind == "vector" and Path(rest).is_file():
        from elicit.interop import vectors

        edits = vectors.load_vectors(rest, model=model)
    elif kind == "vector" and rest:
        edits = steering.load_edits(Path(rest))
        if not edits:
            raise ElicitError(f"--steer: {rest} holds no steering.json; expected the policy folder of a steering arm.")
    elif kind == "random" and rest.startswith("L") and rest[1:].isdigit():
        edits = (_draw_random_edit(options.seed, int(rest[1:]), model),)
    elif kind == "feature" and re.fullmatch(r".+/\d+", rest):
        edits = (_load_feature_edit(rest, model),)
    else:
        raise ElicitError(
            f"--steer is {options.steer!r}; expected feature:SAE/NUMBER (such as feature:L1/379), vector:FOLDER or "
            "random:L<layer>, such as random:L2."
        )
    changes: dict[str, object] = {}
    if options.strength is not None:
        changes["strength"] = options.strength
    if options.positions is not None:
        changes["positions"] = options.positions
    return tuple(dataclasses.replace(edit, **changes) for edit in edits)  # type: ignore[arg-type]


def _draw_random_edit(seed: int, layer: int, model: BaseModel) -> Steering:
    import torch

    from elicit import seeds
    from elicit.loading import architectures
    from elicit.steering import Steering

    architectures.check_layer(model.hf, layer)
    direction = seeds.make_generator("random vector", seed, 0, layer).standard_normal(model.d_model)
    unit = model.residual_norms.medians[layer]
    return Steering(torch.from_numpy(direction).float(), layer, unit=unit, label=f"random#{seed}")


def _load_feature_edit(text: str, model: BaseModel) -> Steering:
    import saes
    from elicit.fitting.sae_lookup import check_sae_match
    from elicit.steering import feature_edit
    from elicit.tasks import neutral_text

    name, _, index = text.rpartition("/")
    sae = saes.load(f"{model.name}/{name}" if re.fullmatch(r"L\d+(-s\d+)?", name) else name, device=str(model.device))
    check_sae_match(model, sae, neutral_text.sample_held_out_sentences(64))
    return feature_edit(sae.feature(int(index)), 1.0, unit=model.residual_norms.medians[sae.layer])
