"""A connection to a Ray cluster: one of this machine, started and stopped here, or one that exists."""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from elicit.errors import ElicitError, one_line, require_extra

#: Names a cluster of this machine.
LOCAL = "ray"
#: Bytes of shared memory of a cluster of this machine. Its workers see the run's folder: little goes through it.
_OBJECT_STORE = 256 << 20


#: Seconds in which a cluster's port has to answer: Ray itself tries for minutes.
_PATIENCE = 20.0


def check_address(address: str) -> None:
    """Check the form of an address.

    Raises:
        ElicitError: neither `ray`, `auto`, `ray://HOST:PORT` nor `HOST:PORT`.
    """
    if address not in (LOCAL, "auto") and not re.fullmatch(r"(ray://)?[^\s/:]+:\d{1,5}", address):
        raise ElicitError(
            f"--on is {one_line(repr(address), 80)}; expected ray (a cluster of this machine, for this run), "
            "ray://HOST:PORT, HOST:PORT or auto."
        )


@contextmanager
def connect_cluster(address: str) -> Iterator[None]:
    """Be connected to a cluster while the block runs. Its end also ends the tasks that are still under way.

    Args:
        address: `ray` starts a cluster of this machine, which ends with the block; `ray://HOST:PORT` connects through
            Ray Client, `HOST:PORT` and `auto` connect from one of the cluster's own machines.

    Raises:
        ElicitError: Ray is not installed, or the cluster does not answer.
    """
    check_address(address)
    with _environment(_list_settings(address)):
        ray = require_extra("ray", "ray", f"--on {address}")
        options = {"num_cpus": len(os.sched_getaffinity(0)), "object_store_memory": _OBJECT_STORE}
        local = {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1", **options}
        try:
            _check_port(address)
            ray.init(
                **(local if address == LOCAL else {"address": address}),
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except Exception as error:
            verb = "could not start" if address == LOCAL else "cannot be reached"
            raise ElicitError(f"--on {address}: the cluster {verb}: {one_line(error, 300)}") from error
        try:
            yield
        finally:
            ray.shutdown()


def _check_port(address: str) -> None:
    """Raises OSError if nothing listens at `[ray://]HOST:PORT`."""
    if address not in (LOCAL, "auto"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def _list_settings(address: str) -> dict[str, str]:
    """Environment variables of Ray."""
    settings = {"RAY_USAGE_STATS_ENABLED": "0"}
    if address == LOCAL:
        # Ray runs whatever a client sends it: only this machine reaches its ports, and only this run knows the token.
        # The second name is that of other systems' setting; on Linux too it keeps nodes on the loopback interface.
        settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        settings |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    return settings


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Environment variables while the block runs; those of the user stay as they are."""
    new = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
