"""Run the scenarios on one device: `python -m tests.accelerator DEVICE [--out FILE] [--against FILE] [--plant]`.

DEVICE is cpu, simulated, or a real one (cuda:0). Prints a line for each scenario; exits with 1 where one failed or
differs from `--against`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.accelerator")
    parser.add_argument("device", help="cpu, simulated, or cuda:0")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--against", type=Path, help="another device's --out")
    parser.add_argument("--only", nargs="*", help="names of scenarios")
    parser.add_argument(
        "--plant", action="store_true", help="afterwards, make each mistake of tests.accelerator.planted"
    )
    parser.add_argument("--tolerance", type=float, default=1e-3, help="relative, of numbers that are not whole")
    asked = parser.parse_args()
    simulated = asked.device == "simulated"
    if simulated:
        from tests.accelerator import building

        building.load_before_torch()
    import torch

    torch.set_num_threads(1)
    from tests.accelerator.comparing import differences

    if simulated:
        from tests.accelerator import simulated as device_of_ours

        device_of_ours.install()
    from tests.accelerator.scenarios import SCENARIOS

    expected = json.loads(asked.against.read_text())["results"] if asked.against else {}
    device = "cuda:0" if simulated else asked.device
    results, failures, transfers = {}, {}, {}
    for name in asked.only or SCENARIOS:
        start = time.perf_counter()
        before = device_of_ours.transfers.copy() if simulated else None
        try:
            results[name] = json.loads(json.dumps(SCENARIOS[name](device)))
            unlike = differences(expected[name], results[name], asked.tolerance) if name in expected else []
        except Exception as error:  # a scenario that fails is a result; the others still run
            unlike = [f"{type(error).__name__}: {error}"]
            print(traceback.format_exc(), file=sys.stderr)
        if unlike:
            failures[name] = unlike
        if before is not None:
            transfers[name] = [[*key, count] for key, count in (device_of_ours.transfers - before).most_common()]
        print(
            f"{'DIFFERS' if unlike else 'ok':8}{time.perf_counter() - start:6.1f} s  {name} {' | '.join(unlike)[:300]}"
        )
    document = {"device": asked.device, "torch": torch.__version__, "results": results, "failures": failures}
    if simulated:
        document["mistakes"] = [list(mistake) for mistake in device_of_ours.mistakes]
        document["transfers"] = transfers
    if simulated and asked.plant:
        from tests.accelerator.planted import mistakes_noticed

        document["planted"] = mistakes_noticed(device)
    if asked.out:
        asked.out.write_text(json.dumps(document, indent=1))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
