"""Chat templates: rendered as transformers renders them, on a day that is said, and bounded in time and memory."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import Any

import pytest

from elicit.errors import ElicitError
from elicit.loading import templates
from elicit.loading.templates import ChatTemplate, TemplateError, get_chat_template, read_chat_template
from tests.support.chats import DATED, FAMILIES
from tests.support.tiny import char_tokenizer

ASK = [{"role": "user", "content": " What is 2 + 2? "}]
TURNS = [*ASK, {"role": "assistant", "content": "It is 4."}, {"role": "user", "content": "And 3 + 3?"}]
SYSTEM = [{"role": "system", "content": "Be brief. /no_think"}, *ASK]
DAY = datetime.date(2025, 1, 31)


def tokenizer(family: str) -> Any:
    speaker = char_tokenizer()
    speaker.chat_template = FAMILIES[family]
    return speaker


@pytest.mark.parametrize("family", FAMILIES)
def test_a_chat_is_what_transformers_renders(family: str) -> None:
    speaker = tokenizer(family)
    template = get_chat_template(speaker, family)
    assert template is not None
    for messages in (ASK, TURNS, SYSTEM):
        if family == "gemma" and messages is SYSTEM:
            with pytest.raises(TemplateError, match="System role not supported"):
                template(messages)
            continue
        wanted = speaker.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert template(messages) == wanted
        for value in (True, False):
            switch = "thinking" if family == "granite" else "enable_thinking"
            if switch in template.reads:
                wanted = speaker.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True, **{switch: value}
                )
                assert template.with_values({switch: value})(messages) == wanted
    open_end = [*ASK, {"role": "assistant", "content": "It is"}]
    wanted = speaker.apply_chat_template(open_end, tokenize=False, continue_final_message=True)
    assert template.render(open_end, prompted=False, continued=True) == wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_the_date_is_the_one_that_is_said(family: str) -> None:
    template = get_chat_template(tokenizer(family), family, DAY)
    other = get_chat_template(tokenizer(family), family, DAY + datetime.timedelta(days=1))
    assert template is not None
    assert other is not None
    assert template.tells_date == (family in DATED)
    assert ("31" in template(ASK)) == (family in DATED)
    assert (template(ASK) != other(ASK)) == (family in DATED)


def test_a_date_can_be_given_where_the_template_reads_one() -> None:
    template = get_chat_template(tokenizer("llama32"), "llama")
    assert template is not None
    assert "Today Date: 26 Jul 2024\n" in template.with_values({"date_string": "26 Jul 2024"})(ASK)


@pytest.mark.parametrize(
    ("family", "system", "values", "state"),
    [
        ("qwen3", None, {}, ("enable_thinking", False, True)),
        ("qwen3", None, {"enable_thinking": False}, ("enable_thinking", True, False)),
        ("smollm3", None, {}, ("enable_thinking", False, True)),
        ("smollm3", "/no_think", {}, ("enable_thinking", False, None)),
        ("granite", None, {}, ("thinking", False, False)),
        ("llama32", None, {}, None),
    ],
)
def test_the_thinking_switch_and_how_it_stands(
    family: str, system: str | None, values: dict[str, Any], state: tuple[str, bool, bool | None] | None
) -> None:
    template = get_chat_template(tokenizer(family), family)
    assert template is not None
    assert template.with_values(values).find_thinking_switch(system) == state


def test_a_value_that_no_template_reads_is_refused() -> None:
    template = get_chat_template(tokenizer("llama32"), "my-llama")
    assert template is not None
    with pytest.raises(ElicitError, match=r"template of my-llama does not read 'enable_thinking'.* date_string"):
        template.with_values({"enable_thinking": False})
    with pytest.raises(ElicitError, match="does not read 'messages'"):
        template.with_values({"messages": []})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("inside", [True, False], ids=["tokenizer_config", "jinja file"])
def test_a_folder_s_template_needs_no_tokenizer(family: str, inside: bool, tmp_path: Path) -> None:
    speaker = tokenizer(family)
    speaker.save_pretrained(tmp_path, save_jinja_files=not inside)
    assert (tmp_path / "chat_template.jinja").exists() != inside
    read = read_chat_template(tmp_path, family, DAY)
    loaded = get_chat_template(speaker, family, DAY)
    assert read is not None
    assert loaded is not None
    assert read(ASK) == loaded(ASK)
    assert read.reads == loaded.reads


def test_several_templates_need_a_default(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{{ messages[0].content }}"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    template = read_chat_template(tmp_path, "m")
    assert template is not None
    assert template(ASK) == " What is 2 + 2? "
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named[:1]}))
    with pytest.raises(ElicitError, match="'default'"):
        read_chat_template(tmp_path, "m")


HOSTILE = {
    "a product": '{{ "x" * 10**10 }}',
    "a power": "{{ 9 ** (messages|length * 10**9) }}",
    "a filter": '{{ "x" | center(10**10) }}',
    "an indentation": '{{ ("x\\n" * 10**6) | indent(10**5) }}',
    "a format": '{{ "%0*d" % (10**9 * 5, 1) }}',
    "doubling": '{% set n = namespace(x="xy") %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}',
    "a long range": "{% for i in range(10**9) %}x{% endfor %}",
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a text of 11 MB": '{{ "x" * 11 * 10**6 }}',
    "a macro that calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "brackets": "{{ " + "(" * 30_000 + "1" + ")" * 30_000 + " }}",
}


#: Those that end by the same bounds as others: too much memory, and no end.
ALIKE = ("a filter", "an indentation", "a format", "doubling")


@pytest.mark.parametrize(
    "source",
    [pytest.param(text, id=name, marks=[pytest.mark.slow] * (name in ALIKE)) for name, text in HOSTILE.items()],
)
def test_a_template_has_bounds(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "SECONDS", 4.0)
    template = ChatTemplate(source, {}, "a model", DAY)
    began = time.monotonic()
    with pytest.raises(ElicitError, match="the chat template of a model"):
        template(ASK)
    assert time.monotonic() - began < 25
    assert ChatTemplate(FAMILIES["phi3"], {}, "b", DAY)(ASK).startswith("<|user|>"), "the next one is rendered"


def test_slow_renderings_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "_TOGETHER", 1.0)
    slow = "{% for i in range(99999) %}{% for j in range(9) %}{% endfor %}{% endfor %}x"
    template = ChatTemplate(slow, {}, "a model", DAY)
    with pytest.raises(ElicitError, match="takes more than 1 s"):
        list(map(template, [ASK] * 1000))
