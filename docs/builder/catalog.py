"""Facts about methods and lists of options, from docstrings and the catalog."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from elicit.methods.catalog import METHODS

#: The folders of methods in reading order, with what they hold.
KINDS = {
    "baselines": "The base, other prompts, and ceilings",
    "finetuning": "Weights are trained",
    "steering": "The residual stream is edited",
    "decoding": "Only the choice of tokens changes",
    "controls": "A parent arm with its active part taken out",
    "ablations": "Evidence about the features an arm steers with",
}
_ARXIV = re.compile(r"\b\d{4}\.\d{5}\b")


def kind_of(name: str) -> str:
    """The folder that a method stands in."""
    return METHODS[name][0].split(".")[-2]


def methods_of(kind: str) -> list[str]:
    """Names of the methods of one kind, in the catalog's order."""
    return [name for name in METHODS if kind_of(name) == kind]


def docstring_of(name: str) -> str:
    """The docstring of a method's module: what it does, steps, source, deviations."""
    return (importlib.import_module(METHODS[name][0]).__doc__ or "").strip()


def module_text(module: str) -> str:
    """The docstring of a module as Markdown."""
    return format_docstring((importlib.import_module(module).__doc__ or "").strip())


def format_docstring(text: str) -> str:
    """A docstring as Markdown: `<` is text, but in code."""
    return "\n".join(line if line.startswith("    ") else escape(line) for line in text.split("\n"))


def papers_of(name: str) -> list[str]:
    """arXiv ids in a method's docstring, in order."""
    return list(dict.fromkeys(_ARXIV.findall(docstring_of(name))))


def source_of(name: str) -> str:
    """The arXiv id that the first paragraph of a method's docstring names, or its paragraph `Source`; else nothing."""
    opening, *others = docstring_of(name).split("\n\n")
    text = " ".join([opening, *(part for part in others if part.startswith("Source"))])
    return next(iter(_ARXIV.findall(text)), "")


def summary_of(name: str) -> str:
    """The first sentences of a method's docstring, without its name and papers."""
    first = " ".join(docstring_of(name).split("\n\n")[0].split())
    first = re.sub(r"^`\w+`\s*(\([^()]*\))?:\s*", "", first)
    return re.sub(r"\s*\([^()]*\d{4}\.\d{5}[^()]*\)", "", first).rstrip(".:")


def method_rows() -> Iterator[str]:
    """The README's table: one row a method, one row for all controls and one for all ablations."""
    yield "| method | source | does |"
    yield "|---|---|---|"
    for kind, what in KINDS.items():
        names = methods_of(kind)
        if kind in ("controls", "ablations"):
            yield f"| {kind} | | {what}: {', '.join(f'`{name}`' for name in names)} |"
        else:
            for name in names:
                yield f"| `{name}` | {source_of(name)} | {shorten(summary_of(name))} |"


def shorten(text: str) -> str:
    """The first sentence of a text."""
    return re.split(r"(?<=[.;]) ", text)[0].rstrip(".;")


def field_docs(owner: type) -> dict[str, str]:
    """Field -> the string that stands below it in the class or in a base of ours."""
    docs: dict[str, str] = {}
    for part in reversed(owner.__mro__):
        if part.__module__.split(".")[0] not in ("elicit", "saes"):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
        assert isinstance(body, ast.ClassDef)
        for node, below in itertools.pairwise(body.body):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(below, ast.Expr):
                value = below.value
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    docs[node.target.id] = " ".join(value.value.split())
    return docs


def field_lines(fields: Iterable[tuple[str, str, str | None]], docs: Mapping[str, str]) -> Iterator[str]:
    """A list of fields, given as (name, type, default or None for a required one), with what each means."""
    for name, kind, default in fields:
        value = "required" if default is None else f"default `{default}`"
        meaning = f": {escape(docs[name])}" if name in docs else ""
        yield f"- **`{name}`** (`{kind}`, {value}){meaning}"


def option_lines(config: type) -> Iterator[str]:
    """A list of the fields of a config (a dataclass)."""
    fields = ((field.name, str(field.type), _default(field)) for field in dataclasses.fields(config))
    return field_lines(fields, field_docs(config))


def _default(field: dataclasses.Field[Any]) -> str | None:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    return None if field.default_factory is dataclasses.MISSING else repr(field.default_factory())


def escape(text: str) -> str:
    """Text in which `<` and `|` stand for themselves, also in the cell of a table; code is left as it is."""
    parts = text.split("`")
    parts[::2] = [part.replace("|", "\\|").replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)
