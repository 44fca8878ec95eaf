"""The values in an arm's options or a task's description, wherever they stand: in nested options, or in a `search`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from elicit.methods.grid_search import SEARCH


class OptionValue(NamedTuple):
    """A value that an option of an arm takes."""

    place: str
    """Where it stands: `reward`, or `search.reward.0`."""
    option: str
    value: Any


def list_option_values(options: Mapping[str, Any]) -> Iterator[OptionValue]:
    """The values of an arm's options; of a searched option, each of those that are tried."""
    for option, value in options.items():
        yield OptionValue(option, option, value)
    search = options.get(SEARCH)
    for option, values in search.items() if isinstance(search, Mapping) else ():
        for i, value in enumerate(values if isinstance(values, list | tuple) else ()):
            yield OptionValue(f"{SEARCH}.{option}.{i}", option, value)


def map_texts(options: Mapping[str, Any], change: Callable[[str, str], str]) -> dict[str, Any]:
    """Options with every text changed by `change(name, text)`; in lists, the name is that of the list."""

    def map_value(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return map_texts(value, change)
        if isinstance(value, list | tuple):
            return [map_value(name, item) for item in value]
        return change(name, value) if isinstance(value, str) else value

    return {name: map_value(name, value) for name, value in options.items()}
