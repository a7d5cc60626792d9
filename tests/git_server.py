"""A git server on the loopback, with faults: it drops answers, goes away, waits.

`git http-backend` behind a small http server, over the bare repositories of one folder.  Start with
Server: what a test sets on it holds from the next request on.
"""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.repos import Repo

USER = "alice"


@dataclass
class Server:
    """A running server: where it is, what it was asked, and what is wrong with it."""

    root: Path
    token: str = ""
    """The password without which nothing is told, if there is one."""
    port: int = 0
    is_away: bool = False
    """Whether it hangs up on everybody."""
    drops: int = 0
    """How many pushes from now on are done and never answered."""
    before_push: Callable[[], None] = lambda: None
    """What happens when a push has come, before it is looked at."""
    after_push: Callable[[], None] = lambda: None
    """What happens when a push was done, before it is answered."""

    def url(self, repo: Repo) -> str:
        """Return the address of a bare repository below the root."""
        return f"http://127.0.0.1:{self.port}/{repo.path.relative_to(self.root)}"


@contextmanager
def serve(root: Path, token: str = "") -> Iterator[Server]:
    """Serve the repositories below a folder; they have to allow `http.receivepack`."""
    server = Server(root, token)

    class Handler(_Handler):
        about = server

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def body(http: BaseHTTPRequestHandler) -> bytes:
    """Return what came with a request, in one piece or in chunks."""
    if http.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return http.rfile.read(int(http.headers.get("Content-Length", 0)))
    parts = []
    while size := int(http.rfile.readline().strip() or b"0", 16):
        parts.append(http.rfile.read(size))
        http.rfile.readline()
    http.rfile.readline()
    return b"".join(parts)


def backend(
    http: BaseHTTPRequestHandler,
    root: Path,
    path: str,
    query: str,
    asked: bytes,
    env: Mapping[str, str],
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body of what `git http-backend` says below a folder.

    `env` reaches the repository's hooks too.
    """
    about = {
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": http.command,
        "CONTENT_TYPE": http.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(asked)),
        "HTTP_CONTENT_ENCODING": http.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": http.headers.get("Git-Protocol", ""),
        "REMOTE_ADDR": "127.0.0.1",
    }
    done = subprocess.run(
        ["git", "http-backend"],
        input=asked,
        env={**os.environ, **about, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    head, _, payload = done.stdout.partition(b"\r\n\r\n")
    status, headers = 200, []
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "status":
            status = int(value.split()[0])
        elif name:
            headers.append((name, value))
    return status, headers, payload


class _Handler(BaseHTTPRequestHandler):
    """One connection: what git asks goes to `git http-backend`, unless there is a fault."""

    about: Server
    protocol_version = "HTTP/1.1"
    # An answer's head and body are two packets, and the second would wait for the first's receipt.
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer the first question of a fetch or a push."""
        self._answer(b"")

    def do_POST(self) -> None:
        """Do a fetch or a push."""
        self._answer(self._body())

    def _answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        is_push = path.endswith("/git-receive-pack")
        if is_push:
            self.about.before_push()
        if self.about.is_away:
            self.close_connection = True
            return
        if not self._is_known():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status, headers, payload = self._backend(path, query, body)
        if is_push:
            self.about.after_push()
            if self.about.drops:
                self.about.drops -= 1
                self.close_connection = True
                return
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _is_known(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        wanted = base64.b64encode(f"{USER}:{self.about.token}".encode()).decode()
        return not self.about.token or given == wanted

    def _body(self) -> bytes:
        return body(self)

    def _backend(
        self, path: str, query: str, asked: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        return backend(self, self.about.root, path, query, asked, {"REMOTE_USER": USER})
