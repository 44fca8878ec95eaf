"""The ratchet on names and prose that `make lint` runs: `python -m tests.lint.names`.

Counts over a package and the most that each may be. A limit is lowered when the code is better than it, never raised.
The listed words were chosen because they say nothing of what a name holds; CONTRIBUTING.md has the rules.
"""

from __future__ import annotations

import ast
import collections
import keyword
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LISTED_WORDS = frozenset("found one own mine given said told place kept drawn asked shown wanted beside named".split())
_IRREGULAR_PARTICIPLES = frozenset(
    "drawn shown taught told said written kept chosen found made done seen held known begun given taken sent cut "
    "spoken left worked".split()
)
_CLAUSE = re.compile(r"(What|How|Whether|Where|Which|Who)\b")
_CALQUE = re.compile(r"\b(is|are) no\b")


class Limit(NamedTuple):
    """A count, the most it may be, and its unit."""

    name: str
    most: float
    unit: str


LIMITS = (
    Limit("listed words", 15, "per 10,000 names"),
    Limit("participles", 2, "% of functions"),
    Limit("one-word names", 35, "% of functions"),
    Limit("shared names", 12, "% of top-level definitions"),
    Limit("clauses", 2, "% of docstrings open with What, How, Whether, Where, Which or Who"),
    Limit("calques", 0, "messages that say 'is no' or 'are no'"),
)


def is_participle(name: str) -> bool:
    """A function name whose first word is a participle: `drawn_rows`, `reached`."""
    first = name.strip("_").split("_")[0]
    return first in _IRREGULAR_PARTICIPLES or (first.endswith("ed") and len(first) > 4)


def measure_names(package: Path) -> dict[str, float]:
    """Every count of `LIMITS` over the Python files of a package."""
    names: collections.Counter[str] = collections.Counter()
    definitions: collections.Counter[str] = collections.Counter()
    functions: list[str] = []
    docstrings: list[str] = []
    calques = 0
    for path in sorted(package.rglob("*.py")):
        with path.open() as lines:
            tokens = tokenize.generate_tokens(lines.readline)
            names.update(token.string for token in tokens if token.type == tokenize.NAME)
        tree = ast.parse(path.read_text())
        definitions.update(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
        functions.extend(_iter_function_names(tree))
        docstrings.extend(_iter_docstrings(tree))
        calques += sum(bool(_CALQUE.search(message)) for message in _iter_messages(tree))
    words = sum(count for name, count in names.items() if not keyword.iskeyword(name))
    shared = sum(count for count in definitions.values() if count > 1)
    return {
        "listed words": 1e4 * sum(names[word] for word in LISTED_WORDS) / max(words, 1),
        "participles": _percent(sum(map(is_participle, functions)), len(functions)),
        "one-word names": _percent(sum("_" not in name.strip("_") for name in functions), len(functions)),
        "shared names": _percent(shared, definitions.total()),
        "clauses": _percent(sum(bool(_CLAUSE.match(text)) for text in docstrings), len(docstrings)),
        "calques": calques,
    }


def _percent(part: int, whole: int) -> float:
    return 100 * part / max(whole, 1)


def _iter_function_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("__"):
            continue
        if not any("property" in ast.dump(decorator) for decorator in node.decorator_list):
            yield node.name


def _iter_docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield text


def _iter_messages(tree: ast.Module) -> Iterator[str]:
    """The text of everything that is raised: the literal parts of the strings in each `raise`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            parts = (part for part in ast.walk(node.exc) if isinstance(part, ast.Constant))
            yield "".join(part.value if isinstance(part.value, str) else "" for part in parts)


def main(packages: list[str]) -> int:
    """Print each count that exceeds its limit; 1 if any does."""
    excess = 0
    for package in packages:
        measured = measure_names(Path(package))
        for limit in LIMITS:
            if measured[limit.name] > limit.most:
                excess += 1
                value = f"{measured[limit.name]:.1f}"
                print(f"{package}: {limit.name}: {value}, at most {limit.most:g} {limit.unit}", file=sys.stderr)
    return int(excess > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["elicit", "saes"]))
