"""Pages of the methods, made from docstrings, options, traits and the committed results that use them."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from docs.builder.catalog import (
    KINDS,
    escape,
    format_docstring,
    kind_of,
    methods_of,
    module_text,
    option_lines,
    papers_of,
    summary_of,
)
from docs.builder.paths import ROOT, list_archives, result_page
from elicit.methods.catalog import ALIASES, METHODS, list_providers, load_config_class

#: Title of a folder's page, where it is not the folder's name.
_TITLES = {"finetuning": "Fine-tuning"}
#: What a method needs in a spec besides its name.
_REQUIRED = {
    "named_prompt": {"condition": "cue"},
    "reference_model": {"model": "org/name-instruct"},
    "adapter": {"path": "path/to/peft_folder"},
    "vector": {"path": "path/to/vector.pt", "layer": 1},
    "edit": {"function": "my_edit.py:my_function", "layer": 1},
    "feature": {"sae": "cued/L1", "features": (411,)},
    "contrastive_decoding": {"amateur": "org/smaller-name"},
    "hybrid_steering": {"tuned": "sft"},
    "best_of_n": {"by": "likelihood"},
}
_MODULE = re.compile(r"`(?:elicit\.)?((?:search|readouts|fitting|steering|training|tasks)(?:\.\w+)+)`")
#: Arms of one result that a page names.
_MOST_ARMS = 6
_CODE_NAME = re.compile(r"(?<!\[)`(\w+)`(?!\])")


def page_of(name: str) -> str:
    """The page of a method on the site."""
    return f"methods/{kind_of(name)}/{name}.md"


def method_pages() -> dict[str, str]:
    """Page -> text: the index, one page a kind, one page a method."""
    pages = {"methods/index.md": index_page()}
    for kind in KINDS:
        pages[f"methods/{kind}/index.md"] = kind_page(kind)
        pages |= {page_of(name): method_page(name) for name in methods_of(kind)}
    return pages


def method_page(name: str) -> str:
    """One page: the docstring, the algorithms that it names, a spec, results, what the lab knows of it, options."""
    module = METHODS[name][0]
    parts = [f"# {name}", link_methods(module_text(module), name), "\n".join(_facts(name))]
    if details := list(_details(module)):
        parts += ["## The parts it is made of", *(link_methods(text, name) for text in details)]
    parts += ["## In a spec", f"```yaml\n{example_spec(name)}```"]
    if used := list(_uses(name)):
        parts += ["## In the results", "\n".join(used)]
    parts += ["## Options", "\n".join(option_lines(load_config_class(name))) or "None."]
    return "\n\n".join(parts) + "\n"


def _facts(name: str) -> Iterator[str]:
    traits = load_config_class(name).traits
    if papers := papers_of(name):
        yield "- Papers: " + ", ".join(f"[{paper}](https://arxiv.org/abs/{paper})" for paper in papers) + "."
    if parents := _parents(name):
        yield f"- A parent arm must use one of: {', '.join(_link(parent, name) for parent in parents)}."
    if controls := [other for other in METHODS if name in _parents(other)]:
        yield f"- Its controls and evidence: {', '.join(_link(control, name) for control in controls)}."
    yield (
        f"- {'One cell a run seed' if traits.seeded else 'The run seed changes nothing: one cell'}; "
        f"{'weights or vectors are trained' if traits.trained else 'nothing is trained'}."
    )
    if traits.ceiling:
        yield f"- A ceiling ({traits.ceiling}): what the base can do when it is asked in a better way."
    if traits.verifier:
        yield "- Reads the verifier when it answers, so it is left out of comparisons between arms."
    yield f"- Source file: `{METHODS[name][0].replace('.', '/')}.py`."


def _parents(name: str) -> tuple[str, ...]:
    traits = load_config_class(name).traits
    return (traits.control_of,) if traits.control_of else tuple(list_providers(traits.fits_on))


def _link(other: str, name: str) -> str:
    """A link from the page of a method to that of another."""
    if other not in METHODS:
        return f"`{other}`"
    return f"[`{other}`]({'' if kind_of(other) == kind_of(name) else f'../{kind_of(other)}/'}{other}.md)"


def link_methods(text: str, name: str) -> str:
    """Text of the page of a method in which the names of other methods are links."""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if not line.startswith("    "):
            lines[i] = _CODE_NAME.sub(lambda m: m[0] if m[1] == name else _link(m[1], name), line)
    return "\n".join(lines)


def _details(module: str) -> Iterator[str]:
    """The docstrings of the modules that a method's docstring names, each under the module's name."""
    for part in dict.fromkeys(_MODULE.findall(_docstring_at(module))):
        if (ROOT / "elicit" / f"{part.replace('.', '/')}.py").is_file():
            yield f"### `elicit.{part}`\n\n{format_docstring(_docstring_at(f'elicit.{part}'))}"


def _docstring_at(module: str) -> str:
    """The docstring of a module, which is not imported."""
    return ast.get_docstring(ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))) or ""


def example_spec(name: str) -> str:
    """A spec with the arm, what it needs, and the controls that it is compared with."""
    arms: dict[str, Mapping[str, object]] = {"base": {"method": "base"}}
    arm = _add_arms(arms, name)
    if arm == name:
        for other in methods_of("controls"):
            if _needs(other) == (name,):
                _add_arms(arms, other)
        for alias, (method, options) in ALIASES.items():
            if method == name:
                arms[f"{name}/{alias.removeprefix(f'{name}_')}"] = {"method": method, **options}
    lines = ["models: [cued]", "task: addition", "arms:"]
    for arm, options in arms.items():
        lines.append(f"  {arm}: {yaml.safe_dump(options, default_flow_style=True, sort_keys=False).strip()}")
    return "\n".join(lines) + "\n"


def _add_arms(arms: dict[str, Mapping[str, object]], name: str) -> str:
    """Add the arms that a method needs, then its own. Returns the name of its own."""
    needs = _needs(name)
    for need in needs:
        if need in METHODS and need not in arms:
            _add_arms(arms, need)
    arm = f"{needs[0]}/{name}" if _parents(name) and needs else name
    arms[arm] = {"method": name, **_REQUIRED.get(name, {})}
    return arm


@functools.cache
def _needs(name: str) -> tuple[str, ...]:
    """The arms that a method needs unless it is told others."""
    return tuple(load_config_class(name)(**_REQUIRED.get(name, {})).needs)


def _uses(name: str) -> Iterator[str]:
    """A list of the committed results that have arms of a method."""
    for page, arms in _arms_of_results().items():
        used = [f"`{arm}`" for arm, method in arms.items() if ALIASES.get(method, (method, {}))[0] == name]
        if used:
            more = f" and {len(used) - _MOST_ARMS} more" if len(used) > _MOST_ARMS else ""
            yield f"- [{Path(page).stem}](../../{page}): {', '.join(used[:_MOST_ARMS])}{more}"


@functools.cache
def _arms_of_results() -> dict[str, dict[str, str]]:
    """Page of a result -> arm -> its method."""
    specs = {result_page(folder): (folder / "spec.yaml").read_text(encoding="utf-8") for folder in list_archives()}
    return {
        page: {arm: options["method"] for arm, options in yaml.load(text, Loader=yaml.CSafeLoader)["arms"].items()}
        for page, text in specs.items()
    }


def kind_page(kind: str) -> str:
    """The methods of one folder, with a link and a sentence each."""
    return "\n".join([f"# {title_of(kind)}", "", f"{KINDS[kind]}.", "", *_rows(kind, "")])


def index_page() -> str:
    """All methods by kind."""
    lines = ["# Methods", "", "One page a method, made from the docstring and the options in its source file: what it"]
    lines += ["does step by step, its papers and where it deviates from them, its controls, a spec, its options.", ""]
    for kind, what in KINDS.items():
        lines += [f"## {title_of(kind)}", "", f"{what}.", "", *_rows(kind, f"{kind}/"), ""]
    return "\n".join(lines)


def title_of(kind: str) -> str:
    return _TITLES.get(kind, kind.capitalize())


def _rows(kind: str, folder: str) -> Iterator[str]:
    yield "| method | does | papers |"
    yield "|---|---|---|"
    for name in methods_of(kind):
        papers = ", ".join(f"[{paper}](https://arxiv.org/abs/{paper})" for paper in papers_of(name))
        yield f"| [{name}]({folder}{name}.md) | {escape(summary_of(name))} | {papers} |"
