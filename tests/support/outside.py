"""A package from outside, as pip would leave it: modules and a dist-info folder with entry points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

TASK = '''
from dataclasses import dataclass

from elicit.tasks import Problem, TaskBase, Verdict, content_id, split_of


@dataclass(frozen=True)
class Parity(TaskBase):
    """The last digit of a sum, modulo 2."""

    high: int = 40
    name = "parity"
    stop = ("\\n",)
    max_new_tokens = 12
    answer_space = 2

    def problems(self, split, n=None, seed=0):
        pool = []
        for a in range(10, self.high):
            for b in range(10, self.high):
                key = content_id("parity", f"{a}+{b}")
                if split_of(key) == split:
                    pool.append(Problem(key, f"Q:{a}+{b}\\nA:", str((a + b) % 2), content=(a, b)))
        return self.draw(pool, split, n, seed)

    def verify(self, problem, completion):
        digits = [character for character in completion if character in "0123456789"]
        answer = str(int(digits[-1]) % 2) if digits else None
        return Verdict(answer, answer == problem.answer, False, None)
'''

READER = '''
import re

from elicit.tasks import ParsedAnswer, ReaderBase


class LastDigit(ReaderBase):
    """The last digit of a text."""

    def parse_answer(self, completion):
        digits = list(re.finditer(r"[0-9]", completion))
        return ParsedAnswer(digits[-1][0], *digits[-1].span()) if digits else None
'''


def install_package(folder: Path, name: str, modules: Mapping[str, str], points: Mapping[str, str]) -> None:
    """Write a package into a folder that is, or will be, on `sys.path`.

    Args:
        modules: name -> source.
        points: `GROUP/NAME` -> `package.module:Name`.
    """
    (folder / name).mkdir(parents=True)
    for module, source in {"__init__": "", **modules}.items():
        (folder / name / f"{module}.py").write_text(source)
    write_distribution(folder, name, points)


def write_distribution(folder: Path, name: str, points: Mapping[str, str]) -> None:
    """Write the dist-info of a package whose modules are in `folder` already.

    Args:
        points: `GROUP/NAME` -> `package.module:Name`.
    """
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups: dict[str, list[str]] = {}
    for point, reference in points.items():
        group, _, entry = point.rpartition("/")
        groups.setdefault(group, []).append(f"{entry} = {reference}\n")
    text = "\n".join(f"[{group}]\n{''.join(entries)}" for group, entries in groups.items())
    (info / "entry_points.txt").write_text(text)


SECTION = '''
from elicit.text import escape_html


class Lengths:
    """Tokens of every arm's answers."""

    id = "lengths"
    title = "Tokens < 100 an answer"
    short_title = "Lengths"

    def render(self, run, panels):
        rows = [
            f"<tr><td>{escape_html(arm)}<td>{row.tokens}"
            for panel in panels
            for arm, data in run.arms[panel.model].items()
            for row in data.rows[run.spec.task_label][0]
        ]
        return f"<table>{''.join(rows)}</table>" if rows else None


class Broken(Lengths):
    id = "broken"

    def render(self, run, panels):
        return "<b>" + run.no_such_field
'''

SAE_FORMAT = '''
import torch
from safetensors.torch import load_file

from saes.loading.validation import LoadedWeights


class Coder:
    def __init__(self, tensors, power):
        self.tensors, self.power = tensors, power

    def encode(self, x):
        return torch.relu(x @ self.tensors["W_enc"] + self.tensors["b_enc"])

    def decode(self, f):
        return f**self.power @ self.tensors["W_dec"] + self.tensors["b_dec"]

    def to(self, *args, **kwargs):
        return Coder({name: tensor.to(*args, **kwargs) for name, tensor in self.tensors.items()}, self.power)


class Plain:
    """ae.safetensors alone."""

    name = "plain"
    files = ("ae.safetensors",)
    power = 1

    def recognises(self, folder):
        return (folder / "ae.safetensors").is_file()

    def read(self, folder, device):
        tensors = load_file(folder / "ae.safetensors", device=device)
        return LoadedWeights(
            coder=Coder(tensors, self.power),
            rows=tensors["W_dec"],
            linear=True,
            model="somebody/model",
            hook="blocks.3.hook_resid_post",
            tensors=tensors,
            kinds=("standard",),
        )


class Squared(Plain):
    """An SAE whose decoder squares: not what steering can edit."""

    power = 2
'''
