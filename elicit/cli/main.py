"""The command line. One small file per verb; heavy imports stay inside the verbs.

Exit codes: 0 ok, 1 some arms failed (the report is still written), 2 bad input, 130 interrupted and resumable.
stdout carries results, stderr everything else.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from elicit.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, ElicitError, did_you_mean

#: verb -> (module, what it does)
VERBS: dict[str, tuple[str, str]] = {
    "run": ("elicit.cli.run", "run a comparison from a spec; the same command resumes it"),
    "report": ("elicit.cli.report", "print a run's table and write its report.html"),
    "verify": ("elicit.cli.verify", "recompute every figure of a run from its rows"),
    "diff": ("elicit.cli.diff", "compare two runs over the same problems"),
    "merge": ("elicit.cli.merge", "join runs of one spec that have other cells done"),
    "archive": ("elicit.cli.archive", "pack a finished run into a few small files"),
    "publish": ("elicit.cli.publish", "reports of runs and pages of SAE features as one static site"),
    "export": ("elicit.cli.export", "a run for other tools: Inspect, lm-eval, tables, vectors, adapters, trackers"),
    "ls": ("elicit.cli.ls", "list models, SAEs, tasks, methods or runs"),
    "sample": ("elicit.cli.sample", "sample from a model, steered if you like"),
    "organism": ("elicit.cli.organism", "train a built-in organism from its recipe"),
    "sae": ("elicit.cli.sae", "train sparse autoencoders, find features, look at them"),
    "lm-eval": ("elicit.cli.lm_eval", "lm-eval's own command line, with policies among its models"),
    "doctor": ("elicit.cli.doctor", "check this installation, or a model before you use it"),
}


def format_usage() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {what}" for verb, (_, what) in VERBS.items()]
    return "\n".join(
        [
            "usage: elicit VERB ...",
            "",
            "Find out how much reasoning a base model already has.",
            "",
            *lines,
            "",
            "elicit VERB --help says more. Start with: elicit run experiments/quickstart.yaml --out runs/quickstart",
        ]
    )


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(format_usage())
        return 0
    if arguments[0] == "--version":
        from elicit.version import __version__

        print(__version__)
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        print(f"elicit: unknown verb {verb!r}.{did_you_mean(verb, VERBS)} See: elicit --help", file=sys.stderr)
        return EXIT_BAD_INPUT
    try:
        return int(importlib.import_module(VERBS[verb][0]).main(rest))
    except ElicitError as error:
        print(f"elicit {verb}: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"elicit {verb}: interrupted. The same command goes on where it stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`elicit ls | head`): not a fault.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def main() -> None:
    # The runs of tiny models are many short processes; this warning of tokenizers' is about forks that do not happen.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
