"""The launcher of a cell's processes: torch's elastic agent, which ends all of them when one fails. See `torchrun`.

python -m elicit.comparison.running.torchrun_agent FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from elicit import runs
from elicit.comparison.running.parent_watch import exit_with_parent
from elicit.comparison.running.torchrun import OUTCOME, REQUEST
from elicit.loading import threads


def main(home: Path) -> int:
    """Start the processes and wait for them. Returns the exit code."""
    exit_with_parent(os.getppid())
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    count = int(json.loads((home / REQUEST).read_text())["processes"])
    threads.set_core_share(count)
    module = "elicit.comparison.running.torchrun_process"
    # A free port of this machine, which no name has to be looked up for.
    options = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(count)]
    try:
        run.run(run.parse_args([*options, "-m", module, str(home)]))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        ends = [
            {"rank": rank, "code": failure.exitcode, "time": float(failure.timestamp)}
            for rank, failure in error.failures.items()
        ]
        runs.write_json(home / OUTCOME, ends)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
