"""Tokenizer metadata of GGUF files that transformers' converter does not carry over.

1. Splitting rule. Files name it (`tokenizer.ggml.pre`); transformers knows some of the names and takes GPT-2's rule for
the others. SmolLM's, which separates every digit, is added here; unknown names give a warning. 2. BOS: put in front of
a text if and only if the file says so. 3. Control tokens keep their ids and are recognised as a whole in a text. 4. A
space in front of every text, as SentencePiece puts it, unless the file says that there is none. 5. End tokens: files
may name an end of turn as well as the end of text. Both end a generation.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

from elicit.errors import one_line

#: Arrays of the header that this module needs.
ARRAYS = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")

#: Names of GPT-2's rule, which transformers uses for every unknown name, ...
_GPT2 = {"gpt-2", "gpt2", "olmo", "mpt", "phi-2", "jais", "trillion", "granite-docling", "dolma"}
#: ... and of the same rule with every digit separated.
_DIGITS = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "granite"}
_CONTROL = 3
_ENDS = ("eos", "eot", "eom")


def repair_tokenizer(hf: Any, tokenizer: Any, fields: Mapping[str, Any], name: str) -> None:
    """Bring tokenizer and generation config in line with the file's metadata, in place.

    Args:
        fields: the header's fields, with ARRAYS read whole.
    """
    if fields.get("tokenizer.ggml.model") == "gpt2":
        _set_splitting_rule(tokenizer, str(fields.get("tokenizer.ggml.pre", "gpt-2")), name)
        _restore_control_tokens(tokenizer, fields)
    elif fields.get("tokenizer.ggml.add_space_prefix") is False:
        _remove_prefix_space(tokenizer)
    _set_bos_prefix(tokenizer, fields)
    ends = [fields[key] for end in _ENDS if (key := f"tokenizer.ggml.{end}_token_id") in fields]
    if ends:
        ids = sorted({int(end) for end in ends})
        hf.generation_config.eos_token_id = ids[0] if len(ids) == 1 else ids
        hf.config.eos_token_id = int(ends[0])


def _set_splitting_rule(tokenizer: Any, rule: str, name: str) -> None:
    from tokenizers import pre_tokenizers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    if rule in _DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif rule not in _GPT2 and rule not in GGUF_PRE_TOKENIZER_SPLITS:
        warnings.warn(
            f"{name} splits text by the rule {one_line(repr(rule), 60)}, which is not known here: GPT-2's is taken, "
            "and some texts will be encoded otherwise than the model was trained on. Its safetensors folder is safe.",
            stacklevel=2,
        )


def _restore_control_tokens(tokenizer: Any, fields: Mapping[str, Any]) -> None:
    """Restore names and ids of control tokens with letters outside the byte alphabet (DeepSeek's).

    The converter spells them as bytes, so that no text contains them, and adds bos and eos again after the vocabulary.
    """
    from tokenizers import Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    spelling = bytes_to_unicode()
    alphabet = set(spelling.values())
    kinds = zip(fields.get(ARRAYS[0]) or (), fields.get(ARRAYS[1]) or (), strict=False)
    lost = {token: i for i, (token, kind) in enumerate(kinds) if kind == _CONTROL and not set(token) <= alphabet}
    if not lost:
        return
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab = rules["model"]["vocab"]
    added = [entry for entry in rules["added_tokens"] if entry["content"] not in lost]
    for token, i in lost.items():
        vocab.pop("".join(spelling[byte] for byte in token.encode()), None)
        vocab[token] = i
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        added.append({"id": i, "content": token, **flags})
    rules["added_tokens"] = sorted(added, key=lambda entry: int(entry["id"]))
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(rules))


def _remove_prefix_space(tokenizer: Any) -> None:
    """Make the tokenizer add no space in front of a text, and remove none from the front of decoded text."""
    from tokenizers import Tokenizer

    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    for part, steps in (("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers"), ("decoder", "decoders")):
        rule = rules[part]
        every = [] if rule is None else rule[steps] if rule["type"] == "Sequence" else [rule]
        remaining_steps = [step for step in every if step["type"] not in ("Prepend", "Strip")]
        remaining_steps = [
            {**step, "prepend_scheme": "never"} if step["type"] == "Metaspace" else step for step in remaining_steps
        ]
        rules[part] = {"type": "Sequence", steps: remaining_steps} if remaining_steps else None
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(rules))


def _set_bos_prefix(tokenizer: Any, fields: Mapping[str, Any]) -> None:
    """Put BOS in front of texts as `add_bos_token` says; without the flag, as the converter does."""
    from tokenizers import processors

    add_bos, bos = fields.get("tokenizer.ggml.add_bos_token"), tokenizer.bos_token
    if add_bos is None or bos is None:
        return
    ids = tokenizer("a").input_ids
    if (ids[:1] == [tokenizer.bos_token_id]) == bool(add_bos):
        return
    single = f"{bos} $A" if add_bos else "$A"
    pair = f"{bos} $A {bos} $B" if add_bos else "$A $B"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(bos, tokenizer.bos_token_id)]
    )
