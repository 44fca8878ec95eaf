"""Tokens, numbers and JSON as the pages show them."""

from __future__ import annotations

import json
import re

import pytest

from elicit.text import reveal_hidden, script_json
from saes.dashboard import vocabulary
from saes.dashboard.text import format_number, format_token, render_token
from tests.saes.hostile import STRINGS, Reader


@pytest.mark.parametrize("text", STRINGS)
@pytest.mark.parametrize("alone", [True, False])
def test_a_token_is_shown_as_its_text(text: str, alone: bool) -> None:
    reader = Reader(render_token(text, alone=alone))
    assert reader.tags() <= {"i", "bdi"}
    assert len(reader.text) < 600
    seen = reader.text.replace("⏎", "\n").replace("␣", " ").replace("⇥", "\t")
    if len(text) <= 60 and text:
        assert seen == re.sub(
            "[^\n\t]", lambda m: reveal_hidden(m[0]).strip("<>") if reveal_hidden(m[0]) != m[0] else m[0], text
        )
    else:
        assert "(empty)" in seen or "4,940 more characters" in seen
    assert "\n" not in format_token(text)


def test_right_to_left_writing_keeps_to_itself() -> None:
    assert render_token("שלום") == "<bdi>שלום</bdi>"
    assert render_token("abc") == "abc"


def test_json_in_a_script_cannot_end_it() -> None:
    data = [*STRINGS, {"</script>": [1.5, None, "<!--<script>"]}]
    text = script_json(data)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == data
    text.encode("ascii")
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json([float("nan")])


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (1, "1"), (122.4561, "122"), (0.0456789, "0.0457"), (1234.5, "1,234"), (-3.256, "−3.26"),
     (1.5e-5, "1.50e−5"), (2.5e7, "2.50e7"), (999.7, "1,000"), (float("nan"), "–"), (None, "–"), (99.96, "100")],
)  # fmt: skip
def test_numbers(value: float | None, shown: str) -> None:
    assert format_number(value) == shown


def test_vocabularies_read_as_their_text() -> None:
    """Byte-level BPE and SentencePiece style, built here: leading spaces are kept, half characters have names."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    entries = {"<unk>": 0, "the": 1, "Ġthe": 2, "Ċ": 3, "â": 4, "âĤ¬": 5, "<think>": 6}
    byte_level = Tokenizer(models.BPE(entries, []))
    byte_level.decoder = decoders.ByteLevel()
    words = vocabulary(PreTrainedTokenizerFast(tokenizer_object=byte_level, unk_token="<unk>"))
    assert [words.text(i) for i in range(1, 7)] == ["the", " the", "\n", "â", "€", "<think>"]
    assert (words.special, words.size) == (frozenset({0}), 7)
    assert words.text(99) == "[99]"

    pieces = Tokenizer(models.WordLevel({"<unk>": 0, "▁the": 1, "the": 2, "▁": 3}, unk_token="<unk>"))
    pieces.decoder = decoders.Metaspace()
    words = vocabulary(PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="<unk>"))
    assert [words.text(i) for i in (1, 2)] == [" the", "the"]
    assert render_token(words.text(1), alone=True) == "<i class='w'>␣</i>the"
    assert render_token(words.text(1)) == " the"
