"""Facts about a loaded model that matter for experiments on it, each with a caution if it is a pitfall."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from elicit.model import BaseModel

_PROBE = "What is 3 + 4?\nAnswer:"
_CONTINUED = " 7"


class Fact(NamedTuple):
    """One line of the page."""

    section: str
    name: str
    value: str
    caution: str = ""
    """Consequence of not knowing it; empty if there is none."""


def examine_model(model: BaseModel) -> list[Fact]:
    """Collect everything known without a task: weights, context, tokenizer, chat template."""
    return [
        *_weight_facts(model),
        *_context_facts(model),
        *_tokenizer_facts(model),
        *_special_token_facts(model),
        *_template_facts(model),
    ]


def _weight_facts(model: BaseModel) -> Iterator[Fact]:
    hf = model.hf
    parameters = sum(parameter.numel() for parameter in hf.parameters())
    yield Fact(
        "weights", "model", f"{model.name}: {hf.config.model_type}, {parameters / 1e6:,.1f} M parameters, "
        f"{model.n_layers} layers, d_model {model.d_model}"
    )  # fmt: skip
    stored, loaded = _read_stored_dtype(hf), str(model.dtype).removeprefix("torch.")
    half = "sums in half precision depend on the batch's shape: text may differ between batch sizes"
    yield Fact("weights", "dtype", f"{loaded} (stored as {stored})", "" if loaded == "float32" else half)
    tied = hf.get_input_embeddings().weight is hf.get_output_embeddings().weight
    caution = "training either changes both; merged adapters on one of them untie the written folder" if tied else ""
    yield Fact("weights", "embedding and head", "tied" if tied else "separate", caution)
    config = hf.config.get_text_config(decoder=True)
    scales = {
        name: getattr(config, name)
        for name in ("final_logit_softcapping", "logit_scale", "logits_scaling", "embedding_multiplier")
        if getattr(config, name, None) not in (None, 1, 1.0)
    }
    if scales:
        words = ", ".join(f"{name} {value:g}" for name, value in scales.items())
        yield Fact("weights", "scaling", words, "a logit lens must apply it; the lab's scoring does")
    attention = str(config._attn_implementation)
    yield Fact("weights", "attention", attention)
    yield Fact("weights", "sha256", model.weights_sha256[:16])


def _read_stored_dtype(hf: Any) -> str:
    stored = getattr(hf.config, "dtype", None)
    return str(stored).removeprefix("torch.") if stored is not None else "unknown"


def _context_facts(model: BaseModel) -> Iterator[Fact]:
    from elicit.loading import architectures

    limit = model.context_length
    known = "no limit in its config" if limit is None else f"{limit:,} tokens, prompt and answer together"
    yield Fact("context", "length", known)
    config = model.hf.config.get_text_config(decoder=True)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {str(part.get("rope_type", "default")) for part in (rope, *rope.values()) if isinstance(part, dict)}
    scaled = sorted(kinds - {"default"})
    if scaled:
        depends = bool({"longrope", "dynamic"} & set(scaled))
        caution = "its frequencies depend on length: rows on both sides of the switch are not batched together"
        yield Fact("context", "rotary scaling", ", ".join(scaled), caution if depends else "")
    if architectures.is_sliding(model.hf):
        window = getattr(config, "sliding_window", None)
        yield Fact("context", "sliding window", f"{window} tokens on some or all layers")
    if architectures.has_absolute_positions(model.hf):
        yield Fact("context", "positions", "a learned table: there is nothing beyond its end")


def _tokenizer_facts(model: BaseModel) -> Iterator[Fact]:
    from elicit.loading import rows

    tokenizer = model.tokenizer
    assigned, now, in_files = (
        len(rows.token_ids(tokenizer)),
        rows.count_rows(model.hf),
        rows.count_rows_in_files(model.hf),
    )
    yield Fact("tokenizer", "kind", f"{describe_tokenizer_kind(tokenizer)}, {assigned:,} tokens")
    spare = in_files - assigned
    if spare > 0:
        detail = f"; {len(model.unassigned_ids)} of them lie between tokens" if model.unassigned_ids else ""
        yield Fact(
            "tokenizer", "rows without a token", f"{spare:,} of {in_files:,}{detail}",
            "never trained; cut off or banned here, while `generate` and other tools may draw them",
        )  # fmt: skip
    rowless = sum(i >= now for i in rows.token_ids(tokenizer))
    if rowless:
        yield Fact("tokenizer", "tokens without a row", f"{rowless:,}", "text that holds one is refused")
    apart = (*model.encode(_PROBE), *tokenizer(_CONTINUED, add_special_tokens=False)["input_ids"])
    if apart != model.encode(_PROBE + _CONTINUED):
        yield Fact(
            "tokenizer", "continuations", "an answer encoded by itself is not what it is behind its prompt",
            "SFT, scoring and forced openings need the joint encoding; the lab's do it",
        )  # fmt: skip
    if any(i == tokenizer.unk_token_id for i in model.encode(_PROBE)):
        yield Fact("tokenizer", "characters", "plain English has unknown ones", "a task in English is refused")
    decoded = tokenizer.decode(model.encode(_PROBE), skip_special_tokens=True)
    if decoded != _PROBE:
        yield Fact("tokenizer", "text back", f"{_PROBE!r} comes back as {decoded!r}", "the tokenizer normalises text")


def describe_tokenizer_kind(tokenizer: Any) -> str:
    """Describe the kind of a tokenizer, from its tokenizers file."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if inner is None:
        return type(tokenizer).__name__
    described = json.loads(inner.to_str())
    model = described["model"]["type"]
    parts = [described["normalizer"], described["pre_tokenizer"], described["decoder"]]
    text = json.dumps(parts, ensure_ascii=False)
    byte_level, metaspace = '"ByteLevel"' in text, '"Metaspace"' in text or "\u2581" in text
    style = "byte-level " if byte_level else "SentencePiece-like " if metaspace else ""
    fallback = " with byte fallback" if described["model"].get("byte_fallback") else ""
    return f"{style}{model}{fallback}"


def _special_token_facts(model: BaseModel) -> Iterator[Fact]:
    from elicit.loading import tokens

    tokenizer = model.tokenizer
    name = tokenizer.convert_ids_to_tokens
    first = model.encode(_PROBE)[0]
    bos = tokenizer.bos_token_id
    if bos is not None and first == bos:
        yield Fact("tokenizer", "BOS", f"{name(bos)!r} in front of every text")
    elif bos is not None:
        yield Fact(
            "tokenizer", "BOS", f"{name(bos)!r} exists and is put in front of nothing", "as the tokenizer has it"
        )
    else:
        yield Fact("tokenizer", "BOS", "none")
    ends = [name(i) for i in sorted(model.engine.end_ids)]
    caution = "completions end at stop strings or at the limit alone" if not ends else ""
    yield Fact("tokenizer", "ends", ", ".join(map(repr, ends)) or "none", caution)
    pad = tokenizer.pad_token_id
    if pad is None:
        yield Fact("tokenizer", "pad", "none: padding is masked by position")
    elif tokens.find_banned_pad(tokenizer, model.hf) is None:
        trap = "masking labels by id would hide the end from the loss; the lab masks by position"
        yield Fact("tokenizer", "pad", f"{name(pad)!r}, which also begins or ends texts", trap)
    else:
        yield Fact("tokenizer", "pad", f"{name(pad)!r}", "never sampled here; `generate` may emit it")


def _template_facts(model: BaseModel) -> Iterator[Fact]:
    chat = model.chat
    if chat is None:
        yield Fact("chat template", "template", "none: asked as plain text")
        return
    from elicit.loading.templates import TemplateError

    yield Fact("chat template", "template", f"{len(chat.source):,} characters")
    probe = {"role": "user", "content": _PROBE}
    text = chat([probe])
    bos = model.tokenizer.bos_token
    if bos and text.startswith(bos):
        yield Fact("chat template", "BOS", "written by the template, and not doubled here")
    try:
        chat([{"role": "system", "content": "Be brief."}, probe])
    except TemplateError:
        yield Fact("chat template", "system message", "refused by the template")
    if text.split(_PROBE)[0].strip(bos or "").count("\n") > 1 or "system" in text.split(_PROBE)[0].lower():
        yield Fact("chat template", "own system message", repr(text.split(_PROBE)[0])[:160], "part of every prompt")
    if chat.tells_date:
        yield Fact(
            "chat template", "date", f"writes {model.date.isoformat()} into every prompt",
            "the same prompts on another day need the run's date",
        )  # fmt: skip
    thinking = chat.find_thinking_switch()
    if thinking is not None:
        yield Fact(
            "chat template", "thinking", f"{thinking.switch}; by default {thinking.state}",
            f"set prompts: {{chat_template_kwargs: {{{thinking.switch}: false}}}} for the direct condition",
        )  # fmt: skip
    others = [name for name in chat.reads if thinking is None or name != thinking.switch]
    if others:
        yield Fact("chat template", "also reads", ", ".join(others))
