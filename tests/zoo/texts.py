"""Texts for properties: what prompts and answers are made of, and what tokenizers stumble over."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_PARTS = (
    *("Question:", "Answer:", "the", " answer", " is", "The", "can't", " they're", "def", "print(", ")", "theory"),
    *("7", " 7", "42", " 123", "1,000", "3.5", "+", " = ", ".", " .", "!", "?", "'s", ":", "#", "-", "</think>"),
    *(" ", "  ", "    ", "\n", "\n\n", "\n\n\n", " \n", "\n ", "\t", "\t\t", "\r\n"),
    *(
        "中文",
        "的答案",
        "日本",
        "한국",
        "é",
        "e\u0301",
        "\u0301",
        "\u0308",
        "Å",
        "ß",
        "İ",
        "ﬁ",
        "①",
        "🙂",
        "👩‍🔬",
        "▁",
        "ｱ",
    ),
    *("▁", "ｱ", "\x00", "\x1b", "\x7f", "\u200b", "\u00a0", "\u202e", "<", ">", "|", "[", "]", "<0x0A>"),
)
parts = st.lists(st.sampled_from(_PARTS), max_size=8).map("".join)
texts = parts | st.text(max_size=6)
"""Any text."""
prompts = texts.map(lambda text: "Q" + text)
"""Any text that begins with a letter: what a tokenizer does to the front of a text stays out of the way."""
completions = texts.filter(bool)

#: The same examples every time, and no limit on the seconds of one: machines are of all speeds.
steady = settings(
    deadline=None, derandomize=True, max_examples=12, suppress_health_check=list(HealthCheck), database=None
)
