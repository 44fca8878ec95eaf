"""The table of task families. A new family of ours is one new file and one line here; for others see `outside`."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from elicit.errors import ElicitError, unknown_name_error
from elicit.plugins import list_entry_points, parse_reference
from elicit.tasks import loaders, outside
from elicit.tasks.core import Task
from elicit.tasks.families.family import ProblemFamily
from elicit.tasks.generated.dialect import Dialect, PromptFormat
from elicit.tasks.generated.english import English
from elicit.tasks.generated.refusal import RefusalTask
from elicit.tasks.generated.task import GeneratedTask
from elicit.tasks.prompts import AskedTask, build_asking

#: name -> (module, class, tokens a worked solution may take)
FAMILIES: dict[str, tuple[str, str, int]] = {
    "addition": ("elicit.tasks.families.addition", "Addition", 48),
    "mod_chain": ("elicit.tasks.families.mod_chain", "ModChain", 64),
    "permutation": ("elicit.tasks.families.permutation", "Permutation", 72),
    "assign": ("elicit.tasks.families.assign", "Assign", 64),
    "countdown": ("elicit.tasks.families.countdown", "Countdown", 96),
    "general_points": ("elicit.tasks.families.general_points", "GeneralPoints", 72),
    "sums": ("elicit.tasks.families.sums", "Sums", 64),
    "products": ("elicit.tasks.families.products", "Products", 48),
    "stories": ("elicit.tasks.families.stories", "Stories", 64),
    "transforms": ("elicit.tasks.families.transforms", "Transforms", 96),
}
#: A task made of another family's problems (`of: NAME`). It takes that family's parameters as well.
REFUSAL = "refusal"
#: Token limit of a worked solution in English, which models write at length.
ENGLISH_TOKENS = 256
#: Tokens that a worked solution of a family from outside may take in an organism's marks.
OUTSIDE_TOKENS = 96


def names() -> list[str]:
    """Our own tasks, and those that installed packages offer."""
    return [*FAMILIES, REFUSAL, *loaders.list_sources(), *list_entry_points(outside.GROUP)]


def is_generated(name: str) -> bool:
    """True if one of our own programs draws the problems."""
    return name in FAMILIES or name == REFUSAL


def has_dialect(name: str) -> bool:
    """True if problems can be put in an organism's dialect or in English. Imports code from outside."""
    reference = find_outside_reference(name)
    return is_generated(name) if reference is None else outside.load_code(reference).is_family


def find_outside_reference(name: str) -> str | None:
    """The reference of a task from outside: `my_file.py:MyTask`, or what an entry point stands for.

    None for our own tasks and for unknown names.
    """
    return None if is_generated(name) or loaders.is_source(name) else outside.find_reference(name)


def label_of(name: str) -> str:
    """The label of a task in rows and tables: of `path/my_file.py:MyTask` the part after the colon."""
    reference = None if is_generated(name) or loaders.is_source(name) else parse_reference(name)
    return name if reference is None else reference.name


def _suggest_gym(name: str) -> None:
    """Refuse `reasoning_gim:NAME`, which is a slip of the pen and not somebody's package."""
    source, _, generator = name.partition(":")
    if difflib.get_close_matches(source, [loaders.GYM], cutoff=0.8) and importlib.util.find_spec(source) is None:
        raise ElicitError(f"unknown task {name!r}. Did you mean '{loaders.GYM}:NAME'? Type: {loaders.GYM}:{generator}")


def get(
    name: str, /, *, dialect: PromptFormat | None = None, prompts: Mapping[str, Any] | None = None, **parameters: Any
) -> Task:
    """Task with this name, with its family's parameters.

    Args:
        name: one of `names()`, or a task of your own: `my_file.py:MyTask`, `my_package.module:MyTask`.
        dialect: the form of generated problems: the marks of the built-in organisms (the default), or `English()`.
        prompts: fields of `asking.Asking`, for tasks in English: the words around questions, examples, chat or not.
            None: the default ones for generated problems in English, none for a file's.
        **parameters: fields of the family, such as `steps=(3, 6)`; for other sources see `tasks.loaders`.

    Raises:
        ElicitError: unknown name or parameter, or a value out of range.
    """
    if loaders.is_source(name):
        if dialect is not None:
            raise ElicitError(f"task {name!r} has no dialect; use template or prompts.")
        task = loaders.load_source(name, parameters)
        return task if prompts is None else AskedTask(task, build_asking(prompts))
    if name == REFUSAL:
        return _get_refusal_task(dialect, prompts, **parameters)
    if (reference := find_outside_reference(name)) is not None:
        _suggest_gym(name)
        return _get_outside_task(name, reference, dialect, prompts, parameters)
    if name not in FAMILIES:
        raise unknown_name_error(
            "task", name, names(), hint="See: elicit ls tasks. A task of your own is my_file.py:MyTask"
        )
    module, class_name, tokens = FAMILIES[name]
    family_class = getattr(importlib.import_module(module), class_name)
    fields = {field.name for field in dataclasses.fields(family_class)} | {"max_new_tokens"}
    for parameter in parameters:
        if parameter not in fields:
            raise unknown_name_error(f"parameter of task {name!r}", parameter, fields)
    limit = parameters.pop("max_new_tokens", None)
    return _make_generated_task(name, family_class(**parameters), tokens, limit, dialect, prompts)


def _get_outside_task(
    name: str,
    reference: str,
    dialect: PromptFormat | None,
    prompts: Mapping[str, Any] | None,
    options: dict[str, Any],
) -> Task:
    code = outside.load_code(reference)
    if code.is_family:
        limit = options.pop("max_new_tokens", None)
        family: Any = outside.make_object(reference, code, options)
        return _make_generated_task(name, family, OUTSIDE_TOKENS, limit, dialect, prompts)
    if dialect is not None:
        raise ElicitError(f"task {name!r} has no dialect; use prompts.")
    task: Any = outside.make_object(reference, code, options)
    return task if prompts is None else AskedTask(task, build_asking(prompts))


def _make_generated_task(
    name: str,
    family: ProblemFamily,
    tokens: int,
    limit: Any,
    dialect: PromptFormat | None,
    prompts: Mapping[str, Any] | None,
) -> Task:
    """A family in marks or in English; `tokens` in marks where the user gives no `limit`."""
    english = isinstance(dialect, English) or (dialect is None and prompts is not None)
    if limit is None:
        limit = ENGLISH_TOKENS if english else tokens
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ElicitError(f"task {name!r}: max_new_tokens is {limit!r}; expected a whole number of at least 1.")
    if english:
        return AskedTask(GeneratedTask(family, English(), max_new_tokens=limit), build_asking(prompts))
    if prompts is not None:
        raise ElicitError(f"task {name!r}: prompts are for tasks in English; an organism's dialect has marks instead.")
    return GeneratedTask(family, dialect or Dialect(), max_new_tokens=limit)


def _get_refusal_task(
    dialect: PromptFormat | None,
    prompts: Mapping[str, Any] | None,
    *,
    of: Any = "addition",
    marked: Any = True,
    **rest: Any,
) -> Task:
    """Refusal task over the problems of the family `of`, under the same prompt conditions."""
    if not isinstance(of, str) or of not in FAMILIES:
        raise unknown_name_error("family of task 'refusal' (of: NAME)", str(of), FAMILIES)
    family_task = get(of, dialect=dialect, prompts=prompts, **rest)
    inner = family_task.inner if isinstance(family_task, AskedTask) else family_task
    assert isinstance(inner, GeneratedTask)
    task = RefusalTask(inner, marked)
    return dataclasses.replace(family_task, inner=task) if isinstance(family_task, AskedTask) else task
