"""Ray clusters of several nodes, emulated on this machine, and their processes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil


@contextmanager
def emulate_cluster(*nodes: dict[str, Any]) -> Iterator[Any]:
    """A cluster with a head that runs nothing and these nodes, such as `{"num_cpus": 1}`. It is not connected to.

    Its `client` is the address for Ray Client.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 100 << 20}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = {"num_cpus": 0, "include_dashboard": False, "ray_client_server_port": port, **store}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.client = f"ray://127.0.0.1:{port}"
    try:
        for node in nodes:
            cluster.add_node(**store, **node)
        yield cluster
    finally:
        cluster.shutdown()


def list_workers(cell: str = "") -> list[psutil.Process]:
    """Worker processes that run a cell whose name begins so. Ray names a process after its task."""
    workers = []
    for process in psutil.process_iter(["cmdline"]):
        title = " ".join(process.info["cmdline"] or ())
        if title.startswith(f"ray::{cell}"):
            workers.append(process)
    return workers


def kill_worker(cell: str) -> bool:
    """Kill a worker that runs such a cell. False: there is none just now."""
    workers = list_workers(cell)
    if workers:
        os.kill(workers[0].pid, signal.SIGKILL)
    return bool(workers)
