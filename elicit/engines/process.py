"""Start a vLLM server in another environment, and stop it with this process.

The other environment needs vLLM alone: the server's package is put on its path by a link, so that nothing of this
environment comes along. The server listens on the loopback address, with a token of its own, and ends when the pipe to
its standard input closes, whatever kills this process.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elicit.engines.choice import TOKEN
from elicit.engines.http import Connection
from elicit.errors import ElicitError, one_line

#: Seconds between looks at a server that is starting.
_PAUSE = 0.2


class ServerProcess:
    """A running server and the folder with its link, log and address."""

    def __init__(
        self, python: str, model: Path, *, dtype: str, options: Mapping[str, Any], package: Path | None = None
    ) -> None:
        """Start a server and wait until it answers.

        Args:
            python: interpreter of an environment with vLLM.
            model: a transformers folder.
            options: further arguments of `vllm.LLM`.
            package: another copy of the server's package than the one beside the lab.

        Raises:
            ElicitError: the server ended before it answered; gives its last words.
        """
        interpreter = Path(python).expanduser().absolute()  # the server runs in a folder of its own
        self.folder = Path(tempfile.mkdtemp(prefix="elicit-vllm-"))
        atexit.register(self.close)
        (self.folder / "elicit_vllm").symlink_to(package or _find_package())
        self.log, ready, token = self.folder / "log", self.folder / "url", secrets.token_hex(16)
        command = [
            str(interpreter),
            "-m",
            "elicit_vllm",
            str(model),
            "--dtype",
            dtype,
            "--ready",
            str(ready),
        ]
        command += ["--follow-stdin", "--options", json.dumps(dict(options))]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=_clean_environment(self.folder, token),
                start_new_session=True,  # Ctrl-C is for the lab; the server ends with it
            )
        while not ready.exists():
            if self.process.poll() is not None:
                words = one_line(self._last_words(), 300)
                self.close()
                raise ElicitError(f"the vLLM server of {python} did not start: {words}")
            time.sleep(_PAUSE)
        self.connection = Connection(ready.read_text().strip(), token)

    def close(self) -> None:
        """Stop the server and remove its folder."""
        process = getattr(self, "process", None)
        if process is not None and process.poll() is None:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _last_words(self) -> str:
        """The last line of the log that names an error, with what follows it, or the last line that says anything."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [i for i, line in enumerate(lines) if "Error" in line]
        return " ".join(lines[errors[-1] :] if errors else lines[-1:]) or "it said nothing"


def _find_package() -> Path:
    """The folder of the server's package, which is looked up and not imported: it needs vLLM."""
    spec = importlib.util.find_spec("elicit_vllm")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _clean_environment(path: Path, token: str) -> dict[str, str]:
    """This process's variables without those of its own Python, and with the server's."""
    own = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP"}
    inherited = {name: value for name, value in os.environ.items() if name not in own}
    return {
        **inherited,
        "PYTHONPATH": str(path),
        TOKEN: token,
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",  # the last new token is never read, so it needs no position
    }
