"""Speed of methods as ratios against what people use today, measured side by side in one run.

    python experiments/benchmarks/methods.py [--only grpo] [--rounds 5] [--out FILE.json]

Every part is a file `methods_NAME.py` with a function `NAME(rounds)` that gives title -> figure; the sides of a ratio
alternate in one process, and the median over rounds of the paired ratio is printed with the smallest and largest; where
a part measured it, by processor time too, which other work on the machine does not stretch.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any


def parts() -> list[str]:
    """Names of the parts that are there."""
    return sorted(path.stem.removeprefix("methods_") for path in Path(__file__).parent.glob("methods_*.py"))


def _told(figure: dict[str, Any]) -> str:
    spread = f" [{figure['lowest']:.2f}, {figure['highest']:.2f}]" if "lowest" in figure else ""
    return f"{figure['median']:.2f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=parts(), action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    for name in options.only or parts():
        measure = getattr(importlib.import_module(f"methods_{name}"), name)
        results[name] = measure(options.rounds)
        for title, figure in results[name].items():
            print(f"{title:<80} {_told(figure)}", flush=True)
            if "by_processor_time" in figure:
                print(f"{'  by processor time':<80} {_told(figure['by_processor_time'])}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
