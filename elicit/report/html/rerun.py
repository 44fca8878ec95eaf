"""The commands that check a run and repeat it, with its spec and its manifest."""

from __future__ import annotations

import json
import shlex

from elicit.report.data.run_reader import LoadedRun
from elicit.text import escape_html, reveal_hidden

_MAX_MANIFEST = 60_000
"""Characters of the manifest on a page."""


def list_rerun_commands(name: str) -> list[str]:
    """Commands for the folder of a run or of its archive: they name no other path, so the folder may be anywhere."""
    return ["elicit verify .", f"elicit run spec.yaml --out {shlex.quote(f'../{name}-again')}"]


def render_rerun_section(run: LoadedRun) -> str:
    """The commands, the command that started the run, the spec and the manifest."""
    command = run.manifest.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else []
    started = ""
    if words:
        started = (
            "<p>The run was started with this command, in the folder that its paths start from:</p>"
            f'<pre class="file">{escape_html(reveal_hidden(shlex.join(words)))}</pre>'
        )
    commands = "\n".join(list_rerun_commands(run.name))
    manifest_text = json.dumps(run.manifest, indent=1, ensure_ascii=False)
    if len(manifest_text) > _MAX_MANIFEST:
        manifest_text = f"{manifest_text[:_MAX_MANIFEST]}\n… cut here; the whole is in manifest.json"
    return (
        "<p>In the folder of the run, the one that holds spec.yaml: recompute every figure, and run it again.</p>"
        f'<pre class="file commands">{escape_html(reveal_hidden(commands))}</pre>{started}'
        f'<details><summary>Spec</summary><pre class="file">{escape_html(run.spec_text)}</pre></details>'
        "<details><summary>Manifest: code, packages, machine, seeds, times</summary>"
        f'<pre class="file">{escape_html(manifest_text)}</pre></details>'
    )
