"""Check before the first cell that tasks fit their models' chat templates; report undecided thinking switches.

Reads templates from the models' folders, without weights or tokenizers. A model that is not on this machine is skipped:
its first cell makes the same check.
"""

from __future__ import annotations

from collections.abc import Iterator

from elicit.comparison.planning.lengths import find_model_folder
from elicit.comparison.spec import Spec, build_task
from elicit.errors import ElicitError
from elicit.loading import catalog
from elicit.loading.templates import ChatTemplate, TemplateSwitch, read_chat_template
from elicit.tasks.prompts import AskedTask


def check_chat_templates(spec: Spec) -> list[str]:
    """Check the chat templates of a spec's models. Returns one line for each thinking switch left at its default.

    Raises:
        ElicitError: a required template is missing, does not read the values given, refuses the task's messages, or
            exceeds its limits on time or memory.
    """
    messages: list[str] = []
    for label in spec.models:
        model_spec = spec.for_model(label)
        source = catalog.resolve_model(model_spec.models[label])
        folder = find_model_folder(source)
        if source.kind == "organism" or folder is None:
            continue
        template = read_chat_template(folder, source.name)
        for where, task in _list_asked_tasks(model_spec):
            bound_template = _template_for_task(task, template, source.name, where)
            thinking = None if bound_template is None else bound_template.find_thinking_switch(task.asking.system)
            if thinking is not None and not thinking.given:
                messages.append(f"{label}, task {where!r}: {describe_thinking_switch(thinking)}")
    return list(dict.fromkeys(messages))


def describe_thinking_switch(thinking: TemplateSwitch) -> str:
    """Describe a switch that a task leaves at the template's default."""
    return (
        f"the chat template reads {thinking.switch}, which is not set: {thinking.state}. "
        f"Type: prompts: {{chat_template_kwargs: {{{thinking.switch}: false}}}} (or true)"
    )


def _list_asked_tasks(spec: Spec) -> Iterator[tuple[str, AskedTask]]:
    for label, description in {spec.task_label: spec.task, **spec.off_target}.items():
        task = build_task(description, where=f"task {label!r}")
        if isinstance(task, AskedTask):
            yield label, task


def _template_for_task(task: AskedTask, template: ChatTemplate | None, name: str, where: str) -> ChatTemplate | None:
    """The template that the task's prompts use; None where they use none."""
    asking = task.asking
    if asking.chat is False:
        return None
    if template is None:
        if asking.chat is True or asking.chat_template_kwargs:
            option = "chat: true" if asking.chat is True else "chat_template_kwargs"
            raise ElicitError(
                f"task {where!r}: prompts has {option}, but the tokenizer of {name} lacks a chat template. "
                "Type: prompts: {chat: false}"
            )
        return None
    bound_template = template.with_values(asking.chat_template_kwargs)
    head = [] if asking.system is None else [{"role": "system", "content": asking.system}]
    bound_template.render([*head, {"role": "user", "content": "Say a word."}])
    return bound_template
