"""Code in several forked copies of this process that have joined one world, as `torchrun` would start them."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate.state

from elicit.training.world import World, join_world


def run_together(
    size: int, function: Callable[[World], Any], *, demanded: int | None = None, patience: int = 240
) -> list[Any]:
    """The results of `function` in `size` processes, by rank. One that raises gives its exception instead.

    Args:
        demanded: the size of the world that they try to join, if it is another.
        patience: seconds after which a process that hangs is killed by its alarm.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(size):
            child = os.fork()
            if child == 0:
                _work(Path(folder) / str(rank), size, rank, port, function, demanded or size, patience)
            children.append(child)
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert ends == [0] * size, f"exit codes {ends}"
        return [pickle.loads((Path(folder) / str(rank)).read_bytes()) for rank in range(size)]


def _work(
    out: Path, size: int, rank: int, port: int, function: Callable[[World], Any], demanded: int, patience: int
) -> None:
    """A process's whole life. It begins with accelerate's state as a new process has it."""
    import signal

    code = 1
    try:
        signal.alarm(patience)
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        numbers = {"WORLD_SIZE": size, "RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in numbers.items()}, MASTER_ADDR="127.0.0.1")
        try:
            with join_world(demanded, "cpu") as world:
                result = function(world)
        except Exception as error:
            traceback.print_exc()
            error.__traceback__ = None
            result = error
        out.write_bytes(pickle.dumps(result))
        code = 0
    finally:
        os._exit(code)
