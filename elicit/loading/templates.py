"""Chat templates: programs that come with a tokenizer and turn messages into the prompt text.

They are rendered as transformers renders them, in a helper process with limits on time and memory (`rendering`), for a
fixed day: templates that write today's date (Llama 3.2, SmolLM3, Granite, Mistral Small) would otherwise give the arms
of one run different prompts. Other variables that a template reads (`enable_thinking`) are passed as values.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from elicit.confined import ConfinedProcess, Exhausted
from elicit.errors import ElicitError, one_line, unknown_name_error

Messages = Sequence[Mapping[str, Any]]

#: Seconds for one rendering; real templates take a thousandth of one.
SECONDS = 8.0
#: Seconds that the renderings of one template may take in total, and extra seconds for each.
_TOGETHER, _EACH = 20.0, 0.05
#: Largest template file in bytes. Real ones have up to 20 KB.
_LARGEST = 2_000_000
#: Variables that rendering itself passes to a template, or takes from the tokenizer.
_PASSED = {"messages", "tools", "documents", "add_generation_prompt"}
#: Switches of hybrid thinking models: Qwen3, SmolLM3, GLM, Granite 3.2, DeepSeek 3.1.
SWITCHES = ("enable_thinking", "thinking")

_renderer = ConfinedProcess("elicit.loading.rendering")


class TemplateError(ElicitError):
    """A template rejects these messages, or fails on them. Others may still be rendered."""

    def __init__(self, name: str, why: str) -> None:
        self.why = why if why.endswith((".", "!", "?")) else f"{why}."
        super().__init__(
            f"the chat template of {name} cannot render these messages: {self.why} Leave out the system message, or "
            "type: prompts: {chat: false}"
        )


def today() -> datetime.date:
    return datetime.date.today()


def parse_date(text: str, where: str) -> datetime.date:
    """Day written as 2026-01-31. Raises ElicitError for anything else."""
    try:
        return datetime.date.fromisoformat(text)
    except (TypeError, ValueError):
        raise ElicitError(
            f"{where}: {one_line(repr(text), 40)} is not a day; expected one such as 2026-01-31."
        ) from None


class TemplateSwitch(NamedTuple):
    """Switch by which a hybrid model's template turns thinking on and off."""

    switch: str
    given: bool
    """True if a value was passed for it."""
    on: bool | None
    """True if the prompt is the one with the switch on; None if it matches neither setting, or both."""

    @property
    def state(self) -> str:
        """State as half a sentence."""
        if self.on is None:
            return "the prompt is neither that for thinking nor that without"
        return "the model is asked to think first" if self.on else "the model is asked not to think"


@dataclass(frozen=True)
class ChatTemplate:
    """Function from messages, each {"role", "content"}, to the prompt text, up to where the answer begins."""

    source: str
    tokens: Mapping[str, Any]
    """Special tokens by their names in templates (`bos_token`)."""
    name: str
    """Name of the model, for messages."""
    date: datetime.date
    """Day that the template sees as today."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Values of other variables, such as {"enable_thinking": False}."""
    _spent: list[float] = field(default_factory=lambda: [_TOGETHER], repr=False, compare=False)

    def __call__(self, messages: Messages) -> str:
        return self.render(messages)

    def render(self, messages: Messages, *, prompted: bool = True, continued: bool = False) -> str:
        """Text of a chat.

        Args:
            prompted: True to append the beginning of an answer.
            continued: True to leave the last message open, to be continued.

        Raises:
            TemplateError: the template raises on these messages, as many do on a system message.
            ElicitError: it runs for too long or takes too much memory.
        """
        question = {
            "messages": [dict(message) for message in messages],
            "tokens": dict(self.tokens),
            "values": dict(self.values),
            "date": self.date.isoformat(),
            "prompted": prompted,
            "continued": continued,
        }
        return str(self._ask_renderer(question)["text"])

    def with_values(self, values: Mapping[str, Any]) -> ChatTemplate:
        """The template with values for variables that it reads.

        Raises:
            ElicitError: a name that the template does not read.
        """
        for name in values:
            if name not in self.reads:
                raise ElicitError(
                    f"chat_template_kwargs: the chat template of {self.name} does not read {one_line(repr(name), 60)}. "
                    f"It reads: {', '.join(self.reads) or '(nothing besides the messages)'}."
                )
        return replace(self, values={**self.values, **values}) if values else self

    @property
    def reads(self) -> tuple[str, ...]:
        """Variables that it reads, besides messages and special tokens."""
        return tuple(name for name in self._description["reads"] if name not in _PASSED | self.tokens.keys())

    @property
    def tells_date(self) -> bool:
        """True if it reads the time."""
        return bool(self._description["tells_date"])

    def find_thinking_switch(self, system: str | None = None) -> TemplateSwitch | None:
        """Thinking switch that it reads, with its state; None for a template without one.

        Args:
            system: the system message, which may hold the switch as well (`/no_think`).
        """
        switch = next((name for name in SWITCHES if name in self.reads), None)
        if switch is None:
            return None
        head = [] if system is None else [{"role": "system", "content": system}]
        messages = [*head, {"role": "user", "content": "Say a word."}]
        on, off = (replace(self, values={**self.values, switch: way}).render(messages) for way in (True, False))
        here = self.render(messages)
        state = {on: True, off: False}.get(here) if on != off else None
        return TemplateSwitch(switch, switch in self.values, state)

    @cached_property
    def _description(self) -> Mapping[str, Any]:
        description: Mapping[str, Any] = self._ask_renderer({})
        return description

    def _ask_renderer(self, question: Mapping[str, Any]) -> Any:
        _renderer.ensure_started()
        began = time.monotonic()
        try:
            if self._spent[0] < 0:
                raise Exhausted(f"takes more than {_TOGETHER:.0f} s for a few messages")
            reply = _renderer.send_question({"template": self.source, **question}, SECONDS)
        except Exhausted as error:
            self._spent[0] = -1.0
            raise ElicitError(
                f"the chat template of {self.name} {error}: it is not used. Put another one in its chat_template.jinja "
                "(or tokenizer_config.json), or take it out."
            ) from None
        self._spent[0] += _EACH - (time.monotonic() - began)
        if "error" in reply:
            raise TemplateError(self.name, str(reply["error"]))
        return reply


def get_chat_template(tokenizer: Any, name: str, date: datetime.date | None = None) -> ChatTemplate | None:
    """Chat template of a loaded tokenizer, for a day (today); None without one.

    Raises:
        ElicitError: several templates and none called "default", or a template that is not text.
    """
    source = _select_default_template(tokenizer.chat_template, name)
    if source is None:
        return None
    return ChatTemplate(source, dict(tokenizer.special_tokens_map), name, date or today())


def read_chat_template(folder: Path, name: str, date: datetime.date | None = None) -> ChatTemplate | None:
    """Chat template in a model's folder, read without its tokenizer; None without one.

    Raises:
        ElicitError: as `get_chat_template`, or a file that cannot be read.
    """
    tokenizer_config: dict[str, Any] = {}
    path = folder / "tokenizer_config.json"
    if path.is_file():
        try:
            tokenizer_config = dict(json.loads(_read_bounded_text(path, 64 * _LARGEST)))
        except (ValueError, TypeError, RecursionError) as error:
            raise ElicitError(f"{path} cannot be read: {one_line(error, 120)}") from None
    template_path = folder / "chat_template.jinja"
    source = _select_default_template(
        _read_bounded_text(template_path, _LARGEST)
        if template_path.is_file()
        else tokenizer_config.get("chat_template"),
        name,
    )
    if source is None:
        return None
    return ChatTemplate(source, _read_special_tokens(tokenizer_config), name, date or today())


def _read_special_tokens(tokenizer_config: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens of a tokenizer_config.json, which writes them as text or as objects."""
    tokens = {}
    for key in ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"):
        value = tokenizer_config.get(key)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            tokens[key] = text
    return tokens


def _read_bounded_text(path: Path, largest: int) -> str:
    if path.stat().st_size > largest:
        raise ElicitError(f"{path} has {path.stat().st_size:,} bytes; at most {largest:,} are read.")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ElicitError(f"{path} cannot be read: {one_line(error, 120)}") from None


def _select_default_template(template: Any, name: str) -> str | None:
    """Default template of a tokenizer, which may have several by name (as a dict, or a list in its file)."""
    if not template:
        return None
    if isinstance(template, list):
        template = {str(part.get("name")): part.get("template") for part in template if isinstance(part, dict)}
    if isinstance(template, dict):
        if "default" not in template:
            raise unknown_name_error("chat template", "default", map(str, template), where=f"the tokenizer of {name}")
        template = template["default"]
    if not isinstance(template, str) or len(template) > _LARGEST:
        raise ElicitError(
            f"the chat template of {name} is {one_line(repr(template), 60)}; expected text of at most 2 MB."
        )
    return template
