"""Hub ids against a server on this machine that speaks the hub's protocol, through the real client."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from elicit.comparison.running.engine import run_cells
from elicit.comparison.spec import check_spec
from elicit.errors import ElicitError
from elicit.loading import hub, load_transformers, weights_hash
from tests.loading.test_load import saved

COMMIT = {"main": "a" * 40, "v2": "b" * 40}


class Server:
    """Repositories by name, and what was asked for."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.codes: dict[str, tuple[int, str]] = {}
        """Repository -> status and the hub's error code."""
        self.asked: list[str] = []


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            found.asked.append(self.path)
            path = self.path.partition("?")[0].strip("/").removeprefix("api/models/").split("/")
            repo, rest = "/".join(path[:2]), path[2:]
            if repo in found.codes:
                status, code = found.codes[repo]
                return self.answer(status, b"", {"X-Error-Code": code, "X-Error-Message": code})
            if repo not in found.repos:
                return self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})
            files = found.repos[repo]
            if rest[:1] == ["resolve"]:
                return self.file(files, rest)
            revision = rest[1] if len(rest) > 1 else "main"
            commit = revision if revision in COMMIT.values() else COMMIT.get(revision)
            if commit is None:
                return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            if rest[:1] == ["tree"]:
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in files.items()
                ]
                return self.answer(200, json.dumps(tree).encode(), {})
            siblings = [{"rfilename": name} for name in files]
            about = {"id": repo, "sha": commit, "siblings": siblings, "private": False, "tags": [], "downloads": 0}
            return self.answer(200, json.dumps(about).encode(), {})

        def file(self, files: dict[str, bytes], rest: list[str]) -> None:
            data = files["/".join(rest[2:])]
            etag = hashlib.sha1(data).hexdigest()
            self.answer(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": rest[1]})

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    point_at(monkeypatch, tmp_path / "hub", f"http://127.0.0.1:{http.server_port}")
    yield found
    http.shutdown()
    http.server_close()


def point_at(monkeypatch: pytest.MonkeyPatch, cache: Path, endpoint: str) -> None:
    from huggingface_hub import constants, hf_api

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(hf_api.api, "endpoint", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def offered(server: Server, folder: Path, repo: str = "org/model") -> Any:
    """A tiny model on the server, beside files that must not be fetched."""
    hf, _, folder = saved(folder)
    server.repos[repo] = {path.name: path.read_bytes() for path in folder.iterdir()}
    server.repos[repo] |= {"pytorch_model.bin": b"pickle", "code.py": b"x", "onnx/model.safetensors": b"x"}
    return hf


def refusal(name: str, **options: Any) -> str:
    with pytest.raises(ElicitError) as caught:
        load_transformers(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_is_fetched_when_asked_for_and_then_found_without_the_network(server: Server, tmp_path: Path) -> None:
    hf = offered(server, tmp_path / "a")
    assert "as a hub id it is not in the local cache" in refusal("org/model")
    assert server.asked == []
    loaded = load_transformers("org/model", download=True)
    assert loaded.weights_sha256 == weights_hash(hf)
    fetched = {path.rpartition("/")[2] for path in server.asked if "/resolve/" in path}
    assert "model.safetensors" in fetched
    assert not {"pytorch_model.bin", "code.py"} & fetched
    assert not any("onnx" in path for path in server.asked if "/resolve/" in path)
    server.asked.clear()
    for options in ({}, {"download": True}):
        assert load_transformers("org/model", **options).weights_sha256 == loaded.weights_sha256
    assert server.asked == []
    # Another revision is another snapshot.
    assert "not in the local cache" in refusal("org/model@v2")
    load_transformers("org/model@v2", download=True)
    assert {path.name for path in (tmp_path / "hub" / "models--org--model" / "snapshots").iterdir()} == {
        COMMIT["main"],
        COMMIT["v2"],
    }


def test_what_the_hub_refuses(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.codes["org/gated"] = (403, "GatedRepo")
    assert refusal("org/gated", download=True) == (
        "org/gated is gated: its owners decide who may download it. "
        "Ask for access at https://huggingface.co/org/gated, then type: hf auth login"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_abc")
    assert refusal("org/gated", download=True).endswith(
        "Your token has no access to it: ask for it at https://huggingface.co/org/gated, with the account that "
        "`hf auth whoami` names."
    )
    monkeypatch.delenv("HF_TOKEN")
    assert refusal("org/typo", download=True) == (
        "org/typo could not be downloaded: the hub lacks a model org/typo, or it is private. Check the "
        "spelling; for a private one type: hf auth login"
    )
    offered(server, tmp_path / "a")
    assert refusal("org/model@nowhere", download=True) == (
        "org/model has no revision 'nowhere'. Its branches and tags are listed at "
        "https://huggingface.co/org/model/tree/main."
    )
    server.repos["org/pickles"] = {"config.json": b"{}", "pytorch_model.bin": b"x"}
    assert refusal("org/pickles", download=True).startswith(
        "org/pickles has no weights as model*.safetensors on the hub, and pickles are never loaded."
    )


def test_an_interrupted_download_is_known_and_completed(server: Server, tmp_path: Path) -> None:
    hf = offered(server, tmp_path / "a")
    folder = hub.get_model_folder("org/model", download=True)
    (folder / "model.safetensors").unlink()
    assert hub.find_cached_model("org/model") is None
    text = refusal("org/model")
    assert "is incomplete, it lacks *.safetensors (an interrupted download?). Fetch the rest: elicit run" in text
    assert load_transformers("org/model", download=True).weights_sha256 == weights_hash(hf)


def test_an_unreachable_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(monkeypatch, tmp_path / "hub", "http://127.0.0.1:9")
    text = refusal("org/model", download=True)
    assert text.startswith("org/model could not be downloaded: ConnectError: ")
    assert text.endswith("What was fetched is kept: the same command goes on from there.")
    assert "(a mirror is named with HF_ENDPOINT)" in text


def test_a_comparison_fetches_before_its_first_cell_or_refuses(server: Server, tmp_path: Path) -> None:
    offered(server, tmp_path / "a")
    spec = check_spec(
        {
            "models": ["org/model@v2"],
            "task": {"task": "addition", "max_new_tokens": 64},
            "arms": ["base"],
            "test": 2,
            "kl_problems": 0,
        },
        where="x",
    )
    assert spec.models == {"model": "org/model@v2"}
    with pytest.raises(ElicitError, match="not in the local cache"):
        run_cells(spec, tmp_path / "run", workers=1)
    assert not (tmp_path / "run").exists(), "refused before anything is written"
    assert server.asked == []
    assert run_cells(spec, tmp_path / "run", workers=1, download=True) == []
    server.asked.clear()
    assert run_cells(spec, tmp_path / "run", workers=1) == []
    assert server.asked == []
