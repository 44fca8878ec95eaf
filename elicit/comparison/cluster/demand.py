"""CPUs, GPUs and memory that a cell asks of a cluster. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from elicit.comparison.cell_state import count_test_problems
from elicit.comparison.planning import memory
from elicit.comparison.planning.basis import read_model_basis
from elicit.comparison.spec import Spec
from elicit.comparison.spec.cells import Cell
from elicit.comparison.spec.shared_training import count_processes
from elicit.errors import ElicitError
from elicit.loading.threads import choose_threads, limit_cores

#: Amounts of a node's resources, by Ray's names: CPU, GPU, memory (bytes).
Resources = Mapping[str, float]


class Demand(NamedTuple):
    """Resources of one cell."""

    cpus: float
    gpus: float
    gib: float
    """Memory of the host; 0 where it is not known."""

    def to_resources(self) -> dict[str, float]:
        """By Ray's names, without those that are 0."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.gib * 2**30}
        return {name: amount for name, amount in amounts.items() if amount}

    def fits(self, resources: Resources) -> bool:
        return all(resources.get(name, 0.0) >= amount for name, amount in self.to_resources().items())

    def describe(self) -> str:
        return describe_resources(self.to_resources())


@dataclass(frozen=True)
class ResourceOptions:
    """Resources of every cell as the user typed them; None: chosen by the cell's model and device."""

    cpus: float | None = None
    """CPUs, which are also the threads of a cell on the CPU."""
    gpus: float | None = None
    """GPUs, or a share of one."""
    gib: float | None = None
    """GiB of the host's memory."""

    def __post_init__(self) -> None:
        if self.cpus is not None and not 0 < self.cpus <= 4096:
            raise ElicitError(f"--cpus-per-cell is {self.cpus:g}; expected CPUs of a cell, above 0.")
        if self.gib is not None and not 0 <= self.gib <= 1 << 20:
            raise ElicitError(f"--memory-per-cell is {self.gib:g}; expected GiB of a cell, 0 or more.")
        if self.gpus is not None and not (0 <= self.gpus <= 1 or (self.gpus <= 1024 and self.gpus.is_integer())):
            raise ElicitError(f"--gpus-per-cell is {self.gpus:g}; expected a share of one, such as 0.5, or whole GPUs.")


def choose_gpus(device: str, options: ResourceOptions, resources: Iterable[Resources]) -> float:
    """GPUs of a cell.

    Args:
        device: of the spec.
        resources: of every node.

    Raises:
        ElicitError: a device and a number of GPUs that contradict each other, or a device that Ray has to choose.
    """
    if device.startswith("cuda:"):
        raise ElicitError(
            f"device {device!r} names one GPU of a machine, and on a cluster Ray chooses. Type: --device cuda"
        )
    if device == "balanced" and options.gpus is None:
        raise ElicitError("device 'balanced' spreads a model over GPUs: type their number, such as --gpus-per-cell 2")
    if options.gpus and device == "cpu":
        raise ElicitError(f"--gpus-per-cell is {options.gpus:g} and the device is cpu. Type one of them: --device cuda")
    if options.gpus == 0 and device in ("cuda", "balanced"):
        raise ElicitError(f"--gpus-per-cell is 0 and the device is {device}. Type one of them: --device cpu")
    if options.gpus is not None:
        return options.gpus
    wanted = device == "cuda" or (device == "auto" and any(node.get("GPU") for node in resources))
    return float(wanted)


def choose_worker_device(device: str, gpus: float) -> str:
    """The device of a cell on its worker, which sees the GPUs that Ray gave it and no others."""
    if not gpus:
        return "cpu"
    return "balanced" if device == "balanced" else "cuda"


def estimate_demands(
    spec: Spec, cells: Sequence[Cell], options: ResourceOptions, resources: Sequence[Resources], *, limit: int | None
) -> dict[str, Demand]:
    """The demand of each cell, by its name.

    Args:
        resources: of every node.

    Raises:
        ElicitError: as `choose_gpus`; a model or a file of a task cannot be read.
    """
    gpus = choose_gpus(spec.device, options, resources)
    cores = limit_cores(int(min((node["CPU"] for node in resources if node.get("CPU", 0) >= 1), default=1)))
    demands = {}
    for label in dict.fromkeys(cell.model for cell in cells):
        basis = read_model_basis(label, spec.model_copy(update={"device": "cpu"}))  # sizes do not depend on it
        profile, problems = basis.profile, count_test_problems(basis.spec, limit)
        threads = cores if profile is None else choose_threads(profile.values, cores=cores)
        cpus = options.cpus if options.cpus is not None else 1 if gpus else threads
        for cell in (cell for cell in cells if cell.model == label):
            if options.gib is not None or profile is None:
                gib = options.gib or 0.0
            elif gpus:
                gib = memory.estimate_host_gib(profile)
            else:
                gib = memory.estimate_memory_gib(profile, basis.estimate_cost(cell.arm), basis.lengths, problems)
            count = count_processes(basis.spec, cell.arm)  # each has a GPU, or CPUs and memory, of its own
            demands[cell.name] = Demand(
                cpus if options.cpus is not None else cpus * count,
                gpus if options.gpus is not None else gpus * count,
                gib if options.gib is not None else gib * count,
            )
    return demands


def check_demands(demands: Mapping[str, Demand], resources: Sequence[Resources]) -> None:
    """Check that each cell fits on a node. Ray would let one wait for ever that does not.

    Raises:
        ElicitError: names the first cell that fits nowhere, and the nodes.
    """
    for name, demand in demands.items():
        if not any(map(demand.fits, resources)):
            kinds = dict.fromkeys(describe_resources(node) for node in resources)
            nodes = "; ".join(list(kinds)[:4]) + (", …" if len(kinds) > 4 else "")
            raise ElicitError(
                f"{name} needs {demand.describe()}, which no node of the cluster has ({nodes or 'there is none'}). "
                "Type other numbers with --cpus-per-cell, --gpus-per-cell or --memory-per-cell, or bring a larger node."
            )


def describe_resources(resources: Resources) -> str:
    """CPUs, GPUs and memory in words."""
    parts = [f"{resources.get('CPU', 0.0):g} CPU", f"{resources['GPU']:g} GPU" if resources.get("GPU") else ""]
    parts.append(f"{resources['memory'] / 2**30:.1f} GiB" if resources.get("memory") else "")
    return ", ".join(filter(None, parts))
