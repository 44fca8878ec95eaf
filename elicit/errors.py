"""Errors that are part of the interface.

`ElicitError` means *bad input*: its one-line message names the place, the value, what was expected and what to type.
The command line prints it without a traceback and exits with code 2. Any other exception is an internal fault and keeps
its traceback.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
from collections.abc import Iterable
from types import ModuleType

EXIT_SOME_ARMS_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


#: Line breaks and other control characters, which file names or a model's text could bring into a message.
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class ElicitError(Exception):
    """Invalid input. The message is always one line and says what to type instead."""

    def __init__(self, message: str) -> None:
        super().__init__(_BREAKS.sub(" ", message))


def one_line(text: object, limit: int = 400) -> str:
    """Fold `text` into one line of at most `limit` characters, so that foreign text cannot break a message."""
    folded = " ".join(str(text).split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


def did_you_mean(query: object, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or an empty string if no known name is close."""
    names = list(known)
    near = difflib.get_close_matches(str(query).lower(), [name.lower() for name in names], n=1, cutoff=0.55)
    if not near:
        return ""
    return f" Did you mean {next(name for name in names if name.lower() == near[0])!r}?"


def unknown_name_error(
    kind: str, name: object, known: Iterable[str], *, where: str = "", hint: str = ""
) -> ElicitError:
    """Build the error for a name that does not exist.

    Args:
        kind: kind of the name ("model", "task", "field of sft").
        name: the name as it was typed.
        known: the names that exist.
        where: the place (a file and line, an arm), as a prefix.
        hint: what to type to see more, at the end.
    """
    names = sorted(known)
    listed = ", ".join(names[:30]) + (", …" if len(names) > 30 else "")
    prefix = f"{where}: " if where else ""
    tail = f" {hint}" if hint else ""
    return ElicitError(
        f"{prefix}unknown {kind} {one_line(repr(name), 80)}.{did_you_mean(name, names)} "
        f"Known: {listed or '(none)'}.{tail}"
    )


def require_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency, or name the extra that installs it.

    Raises:
        ElicitError: `module` is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ElicitError(
            f"{purpose} needs the package {module!r}, which is not installed. "
            f"Type: pip install 'elicit-reasoning[{extra}]'"
        )
    return importlib.import_module(module)
