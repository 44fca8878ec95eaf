"""Errors of pydantic about a spec, as one line."""

from __future__ import annotations

from pydantic import ValidationError

from elicit.errors import ElicitError, one_line


def first_validation_error(error: ValidationError, where: str) -> ElicitError:
    """The first of them, with the field, its value and what was expected."""
    first = error.errors()[0]
    field_name = ".".join(one_line(part, 60) for part in first["loc"]) or "spec"
    if first["type"] == "missing":
        return ElicitError(f"{where}: the field {field_name!r} is missing. A spec needs models, task and arms.")
    value_text = one_line(repr(first["input"]), 60)
    message = one_line(first["msg"]).removeprefix("Value error, ")
    return ElicitError(f"{where}: field {field_name!r}: {value_text}: {message}.")
