"""Bounds on the output of a tokenizer.json, checked before the file is used.

Its rules are programs too: a chain of replacements that each double their match turns a sentence into gigabytes, and a
pattern with nested repetition may search for hours. The growth is computed from the rules. The patterns are tried on
hostile texts, in a process with limits on time and memory; ordinary files have no such pattern.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped]

from elicit.confined import ConfinedProcess, Exhausted, error_reply, serve_until_closed
from elicit.errors import ElicitError, one_line

#: Most characters that one character of a text may become.
_GROWTH = 256.0
_LARGEST = 512 << 20
_STEPS = 5_000
_SECONDS = 15.0
_MEMORY = 3 << 30

#: Fields in which a sequence holds its rules.
_SEQUENCES = ("normalizers", "pretokenizers", "decoders", "processors")

_reader = ConfinedProcess("elicit.loading.tokenizer_bounds")


def check_tokenizer(path: Path, name: str) -> None:
    """Refuse a tokenizer.json whose rules have no reasonable bound. A file that is not JSON is left to its reader.

    Raises:
        ElicitError: too large, growing texts too much, or searching for too long; a template with special tokens that
            it does not define.
    """
    size = path.stat().st_size
    if size > _LARGEST:
        raise ElicitError(f"{path} has {size:,} bytes; at most {_LARGEST:,} are read.")
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return
    parts = document if isinstance(document, dict) else {}
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        steps = list(_iter_rules(parts.get(part)))
        growth = 1.0
        for step in steps:
            growth *= _max_growth(step)
            if growth > _GROWTH or len(steps) > _STEPS:
                raise ElicitError(
                    f"the tokenizer of {name} is not used: the {part} in {path} may make more than {_GROWTH:.0f} "
                    "characters of one. Get its file from where the model comes from."
                )
        risky = [text for step in steps if (text := _get_rule_regex(step)) is not None and repeats_in_repeats(text)]
        if risky:
            _try_patterns(path, name, risky)
    for step in _iter_rules(parts.get("post_processor")):
        _check_template(step, path, name)


def _check_template(step: dict[str, Any], path: Path, name: str) -> None:
    """Check that `TemplateProcessing` defines all tokens that it adds: the library aborts on others."""
    known = step.get("special_tokens")
    pieces = [piece for part in ("single", "pair") if isinstance(step.get(part), list) for piece in step[part]]
    inner = [piece.get("SpecialToken") for piece in pieces if isinstance(piece, dict)]
    tokens = [token.get("id") for token in inner if isinstance(token, dict)]
    lacking = [token for token in tokens if isinstance(known, dict) and isinstance(token, str) and token not in known]
    if lacking and step.get("type") == "TemplateProcessing":
        raise ElicitError(
            f"the tokenizer of {name} cannot read texts: the post_processor in {path} puts "
            f"{one_line(repr(lacking[0]), 60)} around them, which is not among its special_tokens."
        )


def _iter_rules(part: Any) -> Iterator[dict[str, Any]]:
    """Rules of a part, in order; sequences are flattened."""
    waiting = [part]
    while waiting:
        step = waiting.pop()
        if not isinstance(step, dict):
            continue
        inner = [step[key] for key in _SEQUENCES if isinstance(step.get(key), list)]
        if inner:
            waiting += reversed(inner[0])
        else:
            yield step


def _max_growth(step: dict[str, Any]) -> float:
    """Factor by which a rule can lengthen a text."""
    kind, content = step.get("type"), step.get("content")
    if kind == "Replace" and isinstance(content, str):
        plain = step["pattern"].get("String") if isinstance(step.get("pattern"), dict) else None
        if isinstance(plain, str) and plain:
            return max(1.0, len(content) / len(plain))
        return max(1.0, len(content) + _matches_nothing(_get_rule_regex(step)))
    if kind == "Prepend" and isinstance(step.get("prepend"), str):
        return max(1.0, len(step["prepend"]) / 64)
    if kind == "Precompiled" and isinstance(step.get("precompiled_charsmap"), str):
        try:
            data = base64.b64decode(step["precompiled_charsmap"])
        except (binascii.Error, ValueError):
            return 1.0
        table = data[4 + int.from_bytes(data[:4], "little") :]  # after the trie: the replacements of characters
        return max(1.0, max(map(len, table.split(b"\0")), default=0) / 64)
    return 1.0


def _get_rule_regex(step: dict[str, Any]) -> str | None:
    pattern = step.get("pattern")
    text = pattern.get("Regex") if isinstance(pattern, dict) else None
    return text if isinstance(text, str) else None


def _matches_nothing(pattern: str | None) -> bool:
    """Return True if a pattern matches between characters, which adds its replacement to each of them."""
    try:
        return pattern is None or regex.search(pattern, "", timeout=1.0) is not None
    except (regex.error, TimeoutError):
        return True


_ESCAPES = regex.compile(r"\\p\{[^}]*\}|\\.|\[(?:\\.|\[:\w+:\]|[^\]\\])*\]", regex.DOTALL)
_UNBOUNDED = r"[*+]|\{\d*,\}|\{\d{2,}\}"
_MARKS = regex.compile(rf"\((?:\?(?:[:=!>]|<[=!]|[a-z-]+:))?|\)({_UNBOUNDED})?|{_UNBOUNDED}|\|")


def repeats_in_repeats(pattern: str) -> bool:
    """Return True if a group that can repeat without bound holds a repetition or a choice, as in `(a+)+` and `(a|aa)*`.

    >>> repeats_in_repeats("(?:a+b?)*"), repeats_in_repeats("(?i:'s|'t)?\\\\p{L}+|[(+)]+")
    (True, False)
    """
    groups = [False]
    for mark in _MARKS.finditer(_ESCAPES.sub("x", pattern)):
        if mark[0].startswith("("):
            groups.append(False)
        elif mark[0].startswith(")"):
            inside = groups.pop() if len(groups) > 1 else False
            if inside and mark[1]:
                return True
            groups[-1] |= inside or bool(mark[1])
        else:
            groups[-1] = True
    return False


def _try_patterns(path: Path, name: str, patterns: list[str]) -> None:
    letters = dict.fromkeys(["a", "A", "0", " ", "\n", ".", "é", *(c for text in patterns for c in text)][:60])
    texts = [letter * 400 + end for letter in letters for end in ("!", "\x01")]
    try:
        reply = _reader.send_question({"path": str(path.absolute()), "texts": texts}, _SECONDS)
    except Exhausted as error:
        raise ElicitError(
            f"the tokenizer of {name} is not used: reading a few texts by the patterns in {path}, it {error}. "
            "Get its file from where the model comes from."
        ) from None
    if "error" in reply:
        raise ElicitError(f"the tokenizer of {name} cannot read texts: {reply['error']}")


def _count_tokens(question: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(question["path"])
        return {"tokens": [len(tokenizer.encode(text).ids) for text in question["texts"]]}
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a search that gives up is a panic of the library, which is not an Exception
        return error_reply(error)


if __name__ == "__main__":
    serve_until_closed(_count_tokens, _MEMORY)
