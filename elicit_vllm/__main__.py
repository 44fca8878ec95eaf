"""`python -m elicit_vllm MODEL`: serve a model to the lab.

    ELICIT_VLLM_TOKEN=... python -m elicit_vllm ~/models/Llama-3.1-8B --dtype bfloat16 --port 8900

The lab finds it with `engine: {vllm: {url: "http://HOST:8900"}}` and the same ELICIT_VLLM_TOKEN.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import threading
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m elicit_vllm", description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a transformers folder")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--options", default="{}", help="further arguments of vllm.LLM as JSON")
    parser.add_argument("--ready", help="file to write the URL to once requests are answered")
    parser.add_argument("--follow-stdin", action="store_true", help="stop when standard input closes")
    arguments = parser.parse_args()
    if not (Path(arguments.model) / "config.json").is_file():
        parser.error(f"{arguments.model} is not a model folder: it has no config.json")
    token = os.environ.pop("ELICIT_VLLM_TOKEN", "") or secrets.token_hex(16)
    if arguments.follow_stdin:
        threading.Thread(target=_exit_with_stdin, daemon=True).start()
    _set_environment()

    from elicit_vllm.engine import Engine
    from elicit_vllm.server import Server

    with tempfile.TemporaryDirectory(prefix="elicit-vllm-") as folder:
        options = json.loads(arguments.options)
        engine = Engine(arguments.model, Path(folder), dtype=arguments.dtype, options=options)
        server = Server((arguments.host, arguments.port), engine, token)
        url = f"http://{arguments.host}:{server.server_port}"
        if arguments.ready:
            part = Path(f"{arguments.ready}.part")
            part.write_text(url)
            part.replace(arguments.ready)
        else:
            print(f"serving {arguments.model} at {url}\nELICIT_VLLM_TOKEN={token}", flush=True)
        server.serve_forever()


def _set_environment() -> None:
    """Settings of vLLM that the engine rests on, and quiet defaults."""
    os.environ |= {
        "VLLM_USE_V2_MODEL_RUNNER": "0",  # the other runner takes no logits processors
        "VLLM_NO_USAGE_STATS": "1",
    }
    for name, value in (
        ("VLLM_LOGGING_LEVEL", "WARNING"),
        ("VLLM_CPU_KVCACHE_SPACE", "1"),
        ("VLLM_CPU_OMP_THREADS_BIND", "nobind"),
        ("HF_HUB_OFFLINE", "1"),
    ):
        os.environ.setdefault(name, value)
    # One process serves one call at a time, so vLLM's engine may as well live in it; with several GPUs it has its own.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")


def _exit_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
