"""The helper process in which chat templates are compiled and rendered, by transformers' own code.

A question is a dict: `template`, the text, and either `messages` (with `tokens`, `values`, `date`, `prompted`,
`continued`), answered by `{"text"}`, or nothing more, answered by `{"reads", "tells_date"}`. An exception in a template
is answered by `{"error"}`.
"""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

from elicit.confined import error_reply, serve_until_closed

#: Address space limit of the helper, in bytes: it needs about 0.7 GiB itself.
MEMORY = 2 << 30
#: Most characters of a rendered chat.
LONGEST = 10_000_000


def main() -> None:
    from transformers.utils import chat_template_utils

    serve_until_closed(lambda question: _handle_question(chat_template_utils, question), MEMORY)


def _handle_question(utils: Any, question: dict[str, Any]) -> dict[str, Any]:
    try:
        if "messages" not in question:
            return _describe_template(utils, question["template"])
        return {"text": _render_chat(utils, question)}
    except MemoryError:
        raise
    except Exception as error:  # a template is a program of its own
        return error_reply(error)


def _describe_template(utils: Any, template: str) -> dict[str, Any]:
    """Names that a template reads from outside, and whether it reads the time."""
    from jinja2 import meta, nodes

    tree = utils._compile_jinja_template(template).environment.parse(template)
    names = {node.name for node in tree.find_all(nodes.Name)}
    return {"reads": sorted(meta.find_undeclared_variables(tree)), "tells_date": "strftime_now" in names}


def _render_chat(utils: Any, question: dict[str, Any]) -> str:
    day = datetime.date.fromisoformat(question["date"])
    moment = datetime.datetime.combine(day, datetime.time())
    utils.datetime = SimpleNamespace(now=lambda: moment)  # the clock of `strftime_now`
    (text,), _ = utils.render_jinja_template(
        conversations=[question["messages"]],
        chat_template=question["template"],
        add_generation_prompt=question["prompted"],
        continue_final_message=question["continued"],
        **{**question["tokens"], **question["values"]},
    )
    if len(text) > LONGEST:
        raise ValueError(f"it makes {len(text):,} characters of a chat; at most {LONGEST:,} are taken")
    return str(text)


if __name__ == "__main__":
    main()
