"""Nodes of a cluster, and the check that each can run this comparison: the same code, and the models."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from elicit.comparison.cluster.code_identity import make_code_reader, read_code
from elicit.comparison.cluster.demand import Demand, Resources
from elicit.comparison.cluster.remote_cell import prepare_worker
from elicit.comparison.running.prepare_models import fetch_models
from elicit.comparison.spec import Spec, build_task
from elicit.errors import ElicitError, one_line
from elicit.version import __version__

#: Seconds in which a node has to answer; one that fetches models may take as long as it needs.
_PATIENCE = 300.0


class Node(NamedTuple):
    """A machine of the cluster that is alive."""

    id: str
    name: str
    """For messages: host and address."""
    resources: Resources


class NodeQuestion(NamedTuple):
    """All that a node needs to check itself."""

    spec: Spec
    models: tuple[str, ...]
    """Labels of the models of its cells."""
    download: bool
    directory: Path


def list_nodes() -> list[Node]:
    """The nodes that are alive now."""
    import ray

    return [
        Node(node["NodeID"], f"{node['NodeManagerHostname']} ({node['NodeName']})", dict(node["Resources"]))
        for node in ray.nodes()
        if node["Alive"]
    ]


def check_nodes(nodes: Sequence[Node], demands: Collection[Demand], question: NodeQuestion) -> None:
    """Check every node that can hold a cell, all at once.

    Raises:
        ElicitError: names the first that has other code than this process, or lacks a file.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    code = read_code()
    remote = ray.remote(_make_check())
    suitable = [node for node in nodes if any(demand.fits(node.resources) for demand in demands)]
    answers = [
        remote.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(code, question)
        for node in suitable
    ]
    deadline = None if question.download else time.monotonic() + _PATIENCE
    for node, answer in zip(suitable, answers, strict=True):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            there, problem = ray.get(answer, timeout=left)
        except Exception as error:
            raise ElicitError(f"node {node.name} cannot run cells: {one_line(error, 300)}") from error
        if there is None:
            raise ElicitError(
                f"node {node.name} does not have elicit. Install there what is here: elicit-reasoning {__version__}."
            )
        if there != code:
            raise ElicitError(
                f"node {node.name} has other code of elicit ({there}) than this process ({code}): rows must not be "
                f"mixed. Install there what is here: elicit-reasoning {__version__}."
            )
        if problem is not None:
            raise ElicitError(f"node {node.name}: {problem}")


def _make_check() -> Callable[[str, NodeQuestion], tuple[str | None, str | None]]:
    """The check as it is sent to a node: (hash of its code, problem or None). The rest needs equal code."""
    hash_code = make_code_reader()

    def check(code: str, question: NodeQuestion) -> tuple[str | None, str | None]:
        there = hash_code()
        if there != code:
            return there, None
        import importlib

        module = importlib.import_module("elicit.comparison.cluster.nodes")
        return there, module.find_problem(question)

    return check


def find_problem(question: NodeQuestion) -> str | None:
    """The first thing that this machine lacks for these cells, as a message; None if it has everything."""
    prepare_worker(question.directory, 1)
    try:
        fetch_models(question.spec, question.models, download=question.download)
        for spec in map(question.spec.for_model, question.models):
            spec.build_methods()
            build_task(spec.task, where="task")
            for label, description in spec.off_target.items():
                build_task(description, where=f"off_target {label!r}")
    except ElicitError as error:
        return str(error)
    return None
