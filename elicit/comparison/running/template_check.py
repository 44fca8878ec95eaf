"""Before the first cell: whether tasks can be asked through their models' chat templates, and what nobody decided.

Reads templates from the models' folders, without weights or tokenizers. A model that is not on this machine is left
out: its first cell says the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from elicit.comparison.planning.lengths import files
from elicit.comparison.spec import Spec, build_task
from elicit.errors import ElicitError
from elicit.loading import catalog
from elicit.loading.templates import ChatTemplate, Thinking, read_template
from elicit.tasks.prompts import AskedTask


def check_templates(spec: Spec) -> list[str]:
    """What to know about the chat templates of a spec's models: one line for each thinking switch left as it is.

    Raises:
        ElicitError: a template is wanted that is not there, is given values that it does not read, refuses the task's
            messages, or takes more time or memory than it may.
    """
    said: list[str] = []
    for label in spec.models:
        mine = spec.of(label)
        source = catalog.resolve(mine.models[label])
        folder = files(source)
        if source.kind == "organism" or folder is None:
            continue
        template = read_template(folder, source.name)
        for where, task in _asked(mine):
            chosen = _bound(task, template, source.name, where)
            thinking = None if chosen is None else chosen.thinking(task.asking.system)
            if thinking is not None and not thinking.given:
                said.append(f"{label}, task {where!r}: {undecided(thinking)}")
    return list(dict.fromkeys(said))


def undecided(thinking: Thinking) -> str:
    """A sentence about a switch that a task leaves as the template has it."""
    return (
        f"the chat template reads {thinking.switch}, which is not given: {thinking.state}. "
        f"Type: prompts: {{chat_template_kwargs: {{{thinking.switch}: false}}}} (or true)"
    )


def _asked(spec: Spec) -> Iterator[tuple[str, AskedTask]]:
    for label, description in {spec.task_label: spec.task, **spec.off_target}.items():
        task = build_task(description, where=f"task {label!r}")
        if isinstance(task, AskedTask):
            yield label, task


def _bound(task: AskedTask, template: ChatTemplate | None, name: str, where: str) -> ChatTemplate | None:
    """The template as the task is put through it; None where it is not."""
    asking = task.asking
    if asking.chat is False:
        return None
    if template is None:
        if asking.chat is True or asking.chat_template_kwargs:
            wanted = "chat: true" if asking.chat is True else "chat_template_kwargs"
            raise ElicitError(
                f"task {where!r}: prompts has {wanted}, but the tokenizer of {name} has no chat template. "
                "Type: prompts: {chat: false}"
            )
        return None
    chosen = template.with_values(asking.chat_template_kwargs)
    head = [] if asking.system is None else [{"role": "system", "content": asking.system}]
    chosen.render([*head, {"role": "user", "content": "Say a word."}])
    return chosen
