"""Talk to a server of `elicit_vllm`: JSON requests, files by hash, a token in every request."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from elicit.errors import ElicitError, one_line

PROTOCOL = 1


@dataclass(frozen=True)
class Connection:
    """A server's address and the token that it expects."""

    url: str
    token: str = field(repr=False)

    def get(self, path: str) -> dict[str, Any]:
        return self._send("GET", path, None, "application/json")

    def post(self, path: str, body: Any) -> dict[str, Any]:
        return self._send("POST", path, json.dumps(body).encode(), "application/json")

    def put_once(self, path: str, content: bytes) -> None:
        """Send a file unless the server has it."""
        if not self.get(path)["here"]:
            self._send("PUT", path, content, "application/octet-stream")

    def _send(self, method: str, path: str, content: bytes | None, kind: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        request = urllib.request.Request(f"{self.url}/{path}", data=content, headers=headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            raise self._describe(error.code, error.read()) from None
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise ElicitError(f"the vLLM server at {self.url} does not answer: {one_line(str(reason), 120)}.") from None
        return answer

    def _describe(self, status: int, body: bytes) -> Exception:
        try:
            message = one_line(str(json.loads(body)["error"]), 300)
        except (ValueError, KeyError, TypeError):
            message = f"status {status}"
        if status == 401:
            return ElicitError(
                f"the vLLM server at {self.url} refuses the token. Set ELICIT_VLLM_TOKEN to the one that it was "
                "started with."
            )
        if status == 400:
            return ElicitError(f"the vLLM server at {self.url} refuses a request: {message}.")
        return RuntimeError(f"the vLLM server at {self.url} failed: {message}")
