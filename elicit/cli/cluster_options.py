"""Options of `elicit run` for cells on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.comparison.cluster.ray_executor import RayExecutor


def check_cluster_options(
    address: str | None, resources: Mapping[str, float | None], sharing: Mapping[str, object]
) -> None:
    """Check the options that go with --on.

    Args:
        address: value of --on.
        resources: `cpus`, `gpus` and `memory` of each cell, which need --on.
        sharing: option -> value, of those that do not go with it.

    Raises:
        ElicitError: one without --on, or an option that does not go with it.
    """
    if address is None:
        for name, value in resources.items():
            if value is not None:
                raise ElicitError(f"--{name}-per-cell is for cells on a cluster. Type --on ray, or leave it out.")
        return
    for name in sharing:
        if sharing[name]:
            raise ElicitError(f"--on has the run to itself, and --{name} shares it. Type one of them.")
    from elicit.comparison.cluster.connection import check_address

    check_address(address)


@contextmanager
def open_cluster(
    address: str | None, resources: Mapping[str, float | None], *, workers: int | None
) -> Iterator[RayExecutor | None]:
    """Yield the executor of cells on a cluster while this process is connected to it; None without an address.

    Args:
        resources: `cpus`, `gpus` and `memory` of each cell; None: chosen by its model and device.
        workers: cells at a time; None: as many as the cluster holds.

    Raises:
        ElicitError: Ray is not installed, or the cluster does not answer.
    """
    if address is None:
        yield None
        return
    from elicit.comparison.cluster.connection import connect_cluster
    from elicit.comparison.cluster.demand import ResourceOptions
    from elicit.comparison.cluster.ray_executor import RayExecutor

    options = ResourceOptions(resources["cpus"], resources["gpus"], resources["memory"])
    with connect_cluster(address):
        yield RayExecutor(options, workers)
