"""HTTP on top of the engine: JSON for requests, safetensors for edits and weights, nothing that is code.

    GET  /about            what runs here
    GET  /edits/NAME       200 if the edit is here, 404 if not        PUT: send it
    GET  /weights/NAME     the same for weights                       PUT: send them
    POST /complete         {"setting": {...}, "requests": [...]} -> {"answers": [...]}
    POST /score            the same

Every request carries `Authorization: Bearer TOKEN`. Names are the sha256 of the content.
"""

from __future__ import annotations

import hmac
import json
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import vllm

from elicit_vllm.edits import RequestError
from elicit_vllm.engine import Engine, Setting

#: Most bytes of one body.
LARGEST = 64 << 30
#: Changes when the two sides would no longer understand each other.
PROTOCOL = 1


class Server(ThreadingHTTPServer):
    """Answers for one engine."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], engine: Engine, token: str) -> None:
        super().__init__(address, Handler)
        self.engine, self.token = engine, token


class Handler(BaseHTTPRequestHandler):
    """One request; see the module's table."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(lambda: self._get())

    def do_PUT(self) -> None:
        self._answer(lambda: self._put(self._read()))

    def do_POST(self) -> None:
        self._answer(lambda: self._post(json.loads(self._read())))

    def _get(self) -> dict[str, Any]:
        kind, _, name = self.path.strip("/").partition("/")
        engine = self.server.engine
        if kind == "about":
            return {"protocol": PROTOCOL, "version": vllm.__version__, "recomputed": engine.recomputed, **engine.about}
        if kind in ("edits", "weights"):
            return {"here": engine.has_edit(name) if kind == "edits" else engine.has_weights(name)}
        raise _NotFoundError(self.path)

    def _put(self, content: bytes) -> dict[str, Any]:
        kind, _, name = self.path.strip("/").partition("/")
        put = {"edits": self.server.engine.put_edit, "weights": self.server.engine.put_weights}.get(kind)
        if put is None:
            raise _NotFoundError(self.path)
        put(name, content)
        return {}

    def _post(self, body: Any) -> dict[str, Any]:
        run = {"/complete": self.server.engine.complete, "/score": self.server.engine.score}.get(self.path)
        if run is None:
            raise _NotFoundError(self.path)
        try:
            given = body["setting"]
            weights = None if given["weights"] is None else str(given["weights"])
            setting = Setting(int(given["vocabulary"]), tuple(map(int, given["banned"])), weights)
            requests = list(body["requests"])
        except (KeyError, TypeError) as error:
            raise RequestError(f"the body lacks a field or has one of the wrong kind: {error}") from None
        return {"answers": run(requests, setting)}

    def _read(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST:
            raise RequestError(f"a body of {length} bytes is larger than {LARGEST}")
        return self.rfile.read(length)

    def _answer(self, run: Callable[[], dict[str, Any]]) -> None:
        if not hmac.compare_digest(self.headers.get("Authorization") or "", f"Bearer {self.server.token}"):
            self.close_connection = True  # the body was not read
            return self._send(401, {"error": "the token is missing or wrong"})
        try:
            return self._send(200, run())
        except _NotFoundError as error:
            return self._send(404, {"error": f"{error} is not served here"})
        except (RequestError, json.JSONDecodeError) as error:
            return self._send(400, {"error": str(error)})
        except Exception as error:
            traceback.print_exc()
            return self._send(500, {"error": f"{type(error).__name__}: {error}"})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of single requests."""


class _NotFoundError(Exception):
    """A path that is not served."""
