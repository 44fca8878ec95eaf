"""Reference pages made from the code: the CLI's help, fields of specs, rows and problems, parameters of tasks."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import pkgutil
import re
from collections.abc import Iterator
from typing import Any, ForwardRef
from unittest import mock

from pydantic import BaseModel

from docs.builder.catalog import field_docs, field_lines, module_text, option_lines
from elicit.cli import lm_eval, sae
from elicit.cli.main import VERBS, run_command
from elicit.comparison.spec import Spec
from elicit.comparison.spec.checkpoints import Trajectory
from elicit.comparison.spec.model_overrides import ModelOverrides
from elicit.comparison.spec.samples_spec import Samples
from elicit.comparison.storage.file_types import (
    FitRecord,
    Manifest,
    Metrics,
    ModelRecord,
    Status,
    StepMetrics,
    Train,
    Tuning,
    TuningTrial,
)
from elicit.method import Traits
from elicit.schema import Estimate, Row
from elicit.tasks import Asking, loaders
from elicit.tasks.catalog import FAMILIES
from elicit.tasks.datasets.records import ProblemRecord


def exports_of(package: str) -> tuple[str, ...]:
    """The full names that a package brings under `if TYPE_CHECKING`, in its order, modules of its own last."""
    tree = ast.parse(inspect.getsource(importlib.import_module(package)))
    imports = [node for block in tree.body if isinstance(block, ast.If) for node in block.body]
    names = (
        f"{node.module}.{alias.name}" for node in imports if isinstance(node, ast.ImportFrom) for alias in node.names
    )
    return tuple(sorted(names, key=lambda name: name.count(".") == 1))


def modules_in(package: str) -> tuple[str, ...]:
    """A package and its modules."""
    path = importlib.import_module(package).__path__
    return (package, *(f"{package}.{module.name}" for module in pkgutil.iter_modules(path)))


def cli_page() -> str:
    """Every verb with its help, as the command line prints it."""
    lines = ["# Command line", "", "Exit codes: 0 ok, 1 some arms failed (the report is still written), 2 bad input,"]
    lines += ["130 interrupted and resumable. Results go to stdout, everything else to stderr.", ""]
    lines += _fence(_help())
    for verb, (_, what) in VERBS.items():
        lines += [f"## elicit {verb}", "", f"{what[0].upper()}{what[1:]}.", ""]
        if verb == "lm-eval":
            lines += _fence(lm_eval.USAGE)
        elif verb == "sae":
            for name in sae.SUBVERBS:
                lines += [f"### elicit sae {name}", "", *_fence(_help("sae", name))]
        else:
            lines += _fence(_help(verb))
    return "\n".join(lines)


def _fence(text: str) -> list[str]:
    return ["```text", *text.strip("\n").split("\n"), "```", ""]


def _help(*verb: str) -> str:
    """What `elicit VERB --help` prints, 88 columns wide and without colours."""
    page = io.StringIO()
    environment = {"COLUMNS": "88", "NO_COLOR": "1", "TERM": "dumb"}
    with mock.patch.dict(os.environ, environment), contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        run_command([*verb, "--help"])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", page.getvalue())
    return "\n".join(line.rstrip() for line in plain.split("\n"))


def spec_page() -> str:
    """The fields of a spec, and of the parts that have fields of their own."""
    opening = (importlib.import_module(Spec.__module__).__doc__ or "").strip().split("\n\n")[1]
    parts = ["# Fields of a spec", "A spec is a YAML file. An unknown field is an error.", f"```yaml\n{opening}\n```"]
    for title, model in (
        ("The spec", Spec),
        ("`samples`", Samples),
        ("`trajectory`", Trajectory),
        ("An entry of `panels`", ModelOverrides),
    ):
        parts += [f"## {title}", "\n".join(_lines_of(model))]
    parts += ["## Options of an arm", "`method`, and the options of that method: see its page under Methods."]
    parts += ["## `prompts` of a task", "\n".join(option_lines(Asking))]
    return "\n\n".join(parts) + "\n"


def _lines_of(model: type) -> Iterator[str]:
    return model_lines(model) if issubclass(model, BaseModel) else option_lines(model)


def model_lines(model: type[BaseModel]) -> Iterator[str]:
    """A list of the fields of a pydantic model."""
    kinds = inspect.get_annotations(model)
    fields = (
        (
            name,
            str(kinds.get(name, field.annotation)),
            None if field.is_required() else repr(field.get_default(call_default_factory=True)),
        )
        for name, field in model.model_fields.items()
    )
    return field_lines(fields, field_docs(model))


#: Checked types of `file_types` -> what is written to the file.
_PLAIN_TYPES = {
    "Count": "int",
    "Work": "int | float",
    "Real": "float",
    "Seconds": "float",
    "Share": "float",
    "Moment": "str",
    "Interval": "[low, high]",
}


def rows_page() -> str:
    """The fields of the files of a run, of problems in a JSONL file, and of a method's traits."""
    parts = ["# Fields of files", "## A row", inspect.getdoc(Row) or "", "\n".join(option_lines(Row))]
    parts += ["## A figure of a summary", inspect.getdoc(Estimate) or "", "\n".join(option_lines(Estimate))]
    parts += ["## A problem of a file", "Fields as they are kept after reading; the guide to your own data has their"]
    parts[-1] += " forms in a JSONL line."
    kinds, defaults = inspect.get_annotations(ProblemRecord), ProblemRecord._field_defaults
    fields = (
        (name, kinds[name].__forward_arg__, repr(defaults[name]) if name in defaults else None)
        for name in ProblemRecord._fields
    )
    parts += ["\n".join(field_lines(fields, field_docs(ProblemRecord)))]
    parts += [
        "## Files of a run",
        "A field that does not apply is absent or null. More fields may be there.",
    ]
    for kind in (Manifest, Status, FitRecord, Train, Tuning, TuningTrial, ModelRecord, Metrics, StepMetrics):
        parts += [f"### {kind.__name__}", inspect.getdoc(kind) or "", "\n".join(_typed_lines(kind))]
    parts += ["## Versions of formats", module_text("elicit.format_versions")]
    parts += ["## Traits of a method", inspect.getdoc(Traits) or "", "\n".join(option_lines(Traits))]
    return "\n\n".join(parts) + "\n"


def _typed_lines(kind: Any) -> Iterator[str]:
    """A list of the fields of a TypedDict."""
    for name, annotation in kind.__annotations__.items():
        text = annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else str(annotation)
        text = re.sub(r"^NotRequired\[(.*)\]$", r"\1", text)
        text = re.sub(r"Annotated\[(\w+), .*\]", r"\1", text)
        yield f"- **`{name}`** (`{re.sub(r'[A-Z][a-z]+', lambda word: _PLAIN_TYPES.get(word[0], word[0]), text)}`)"


def tasks_page() -> str:
    """Every task of the catalog with its parameters."""
    parts = ["# Tasks and their parameters", "`task: {task: NAME, PARAMETER: VALUE}`; `max_new_tokens` goes for all."]
    for name, (module, class_name, tokens) in FAMILIES.items():
        family = getattr(importlib.import_module(module), class_name)
        text = module_text(module)
        parts += [f"## {name}", text, f"At most {tokens} new tokens by default (256 in English)."]
        if dataclasses.fields(family):
            parts.append("\n".join(option_lines(family)))
    for name, (what, parameters) in loaders.describe_sources().items():
        parts += [
            f"## {name}",
            f"{what[0].upper()}{what[1:]}.",
            f"Parameters: {', '.join(f'`{p}`' for p in parameters)}.",
        ]
    return "\n\n".join(parts) + "\n"


#: Page -> title, what it opens with, and the modules, packages or objects whose docstrings it shows.
API = {
    "elicit": ("elicit", "The names that `import elicit` gives.", ("elicit", "elicit.api.Results")),
    "runs": (
        "Runs",
        "A run directory or an archive read, compared with another, packed and verified.",
        (
            "elicit.comparison.run",
            "elicit.comparison.run_cell",
            "elicit.comparison.run_differences",
            "elicit.comparison.archive",
            "elicit.comparison.verify",
            "elicit.schema",
        ),
    ),
    "tasks": ("elicit.tasks", "Problems, verifiers and where they come from.", ("elicit.tasks",)),
    "methods": ("elicit.methods", "What a method is, and the catalog.", ("elicit.method", "elicit.methods.catalog")),
    "steering": ("elicit.steering", "Edits of the residual stream: what, where and how strong.", ("elicit.steering",)),
    "saes": ("saes", "Sparse autoencoders: load, train, judge, search, look.", exports_of("saes")),
    "analysis": ("elicit.analysis", "Training curves and what can be told from them.", modules_in("elicit.analysis")),
    "statistics": (
        "elicit.statistics",
        "Intervals, paired tests, pass@k, gap recovered, power.",
        modules_in("elicit.statistics"),
    ),
    "report": ("elicit.report", "The one-file report, and figures for a notebook.", ("elicit.report",)),
    "panel": ("elicit.panel", "A model side by side with itself, steered.", ("elicit.panel",)),
    "interop": (
        "elicit.interop",
        "Tables, policies, vectors, lm-eval, Inspect, trackers.",
        (
            "elicit.interop.frames",
            "elicit.interop.policies",
            "elicit.interop.vectors",
            "elicit.interop.neuronpedia",
            "elicit.interop.circuit_graph",
            "elicit.interop.lm_eval",
            "elicit.interop.lm_eval.model",
            "elicit.interop.inspect_logs",
            "elicit.interop.trackers",
        ),
    ),
    "extending": (
        "Extension points",
        "The interfaces of what a package or a file of yours can bring, and how it is named.",
        (
            "elicit.plugins",
            "elicit.tasks.base",
            "elicit.tasks.families.family",
            "elicit.tasks.answers.base",
            "elicit.report.html.section",
            "elicit.report.data.summary_view",
            "saes.loading.formats",
            "saes.loading.validation.LoadedWeights",
        ),
    ),
}


def api_page(name: str) -> str:
    """A page that mkdocstrings fills from docstrings."""
    title, opening, modules = API[name]
    return "\n\n".join([f"# {title}", opening, *(f"::: {module}" for module in modules)]) + "\n"
