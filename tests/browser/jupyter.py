"""A JupyterLab of one's own on a free localhost port: no settings of the user, no network, gone afterwards."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser.support import wait_for

_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def jupyterlab(folder: Path, home: Path) -> Iterator[str]:
    """Serve `folder`; everything Jupyter keeps goes under `home`. Yields the address with `{path}` for a notebook."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    kept = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    kept += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    environment = (
        os.environ | {name: str(home / name) for name in kept} | {"PYTHONPATH": str(_ROOT), "HF_HUB_OFFLINE": "1"}
    )
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"]
    command += [f"--IdentityProvider.token={token}", "--LabApp.extension_manager=readonly"]
    quiet = home / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}')
    log = home / "jupyter.log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=folder)
        try:
            _until_up(server, f"http://localhost:{port}/api/status?token={token}", log)
            yield f"http://localhost:{port}/lab/tree/{{path}}?token={token}"
        finally:
            server.terminate()
            server.wait(timeout=60)


def _until_up(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Wait until the server answers: it is asked again each time the connection is refused, for at most two minutes."""
    import time

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 120
    while True:
        try:
            opener.open(address, timeout=10).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}") from None
            time.sleep(0.2)


def run_all(browser: Any, address: str) -> None:
    """Open a notebook, wait for its kernel, and run every cell; returns when the last one has run."""
    browser.get(address)
    wait_for(browser, "return window.jupyterapp?.shell?.currentWidget?.context?.isReady", seconds=180)
    wait_for(browser, f"return {_SESSION}.session?.kernel?.status === 'idle'", seconds=120)
    browser.execute_script("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    wait_for(
        browser,
        f"const cells = window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells;"
        f"const code = cells.filter(cell => cell.cell_type === 'code');"
        f"return code.every(cell => cell.execution_count !== null) && {_SESSION}.session.kernel.status === 'idle'",
        seconds=240,
    )
    wrong = browser.execute_script(
        "return window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.filter(cell => cell.outputs)"
        ".flatMap(cell => cell.outputs).filter(output => output.output_type === 'error').map(output => output.evalue)"
    )
    assert not wrong, f"a cell of the notebook failed: {wrong}"


_SESSION = "window.jupyterapp.shell.currentWidget.sessionContext"
