"""The fake GitHub's address: git, REST and GraphQL on one port of the loopback.

Start with serve. Before anything is answered, a request is held against GitHub's description, its
token against what it may, and today's faults are looked up. Whoever asks what GitHub does not know
fails the test.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from tests import git_server
from tests.forge import description, graph, rest
from tests.forge.hub import PER_HOUR, PERSON_PER_HOUR, SECONDARY, Hub, Request, Trouble
from tests.forge.rest import ROUTES, Answer, Call
from tests.forge.state import Refused, Repository, Token, at_least

MOST_PER_PAGE = 100
PATIENCE = 30.0
"""Seconds that a request hangs which nobody answers; a client with less patience goes away."""
DOCUMENTATION = "https://docs.github.com/rest"


@contextmanager
def serve(root: Path) -> Iterator[Hub]:
    """Serve a new, empty GitHub below a folder; fail when anybody asked what GitHub does not know.

    An answer that GitHub would not give fails too: then the fake is wrong.
    """
    known = description.load(route.name for route in ROUTES)
    hub = Hub(root)

    class Handler(_Handler):
        about = hub
        described = known
        ended = threading.Event()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing: who went away in the middle is what many tests are about."""

    with Server(("127.0.0.1", 0), Handler) as http:
        hub.base = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            Handler.ended.set()
            http.shutdown()
            thread.join()
    if hub.violations:
        raise AssertionError("asked of GitHub, which has it not:\n" + "\n".join(hub.violations))


def allowance(hub: Hub, by: Token | None) -> tuple[int, int, int]:
    """Return how many requests somebody has in an hour, has used, and when the hour ends."""
    key = _purse(by)
    usual = PERSON_PER_HOUR if by is not None and by.kind == "person" else PER_HOUR
    most = hub.most.get(key, usual if by is not None else 60)
    reset = (int(hub.now().timestamp()) // 3600 + 1) * 3600
    return most, min(hub.used[key], most), reset


def _purse(by: Token | None) -> str:
    """Return whose hour a request counts in: the jobs of a repository share theirs."""
    if by is None:
        return "nobody"
    return by.login if by.kind == "person" else f"{by.kind} {by.repository}"


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    about: Hub
    described: description.Description
    ended: threading.Event
    protocol_version = "HTTP/1.1"
    # An answer's head and body are two packets, and the second would wait for the first's receipt.
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a request."""
        self._route()

    def do_POST(self) -> None:
        """Answer a request."""
        self._route()

    def do_PATCH(self) -> None:
        """Answer a request."""
        self._route()

    def do_PUT(self) -> None:
        """Answer a request."""
        self._route()

    def do_DELETE(self) -> None:
        """Answer a request."""
        self._route()

    def _route(self) -> None:
        path, _, query = self.path.partition("?")
        body = git_server.body(self)
        if path.startswith("/_blobs/"):
            self._blob(int(path.removeprefix("/_blobs/")))
        elif (found := _git_path(path)) is not None:
            self._git(*found, query, body)
        elif path in ("/graphql", "/api/graphql"):
            self._api("POST /graphql", "/graphql", {}, body)
        else:
            plain = unquote(path.removeprefix("/api/v3"))
            asked = dict(parse_qsl(query, keep_blank_values=True))
            self._api(f"{self.command} {plain}", plain, asked, body)

    # REST and GraphQL

    def _api(self, asked: str, path: str, query: dict[str, str], body: bytes) -> None:
        hub = self.about
        trouble = hub.trouble_for(asked)
        value = json.loads(body) if body else None
        by, answer = None, Answer()
        try:
            by = self._token()
            if trouble and trouble[0] != "lost":
                answer = self._in_trouble(*trouble)
            else:
                answer = self._answer(path, query, value, by)
        except Refused as refused:
            answer = _refusal(refused)
        except graph.Hung as hung:
            trouble = ("silent" if hung.trouble == "silent" else "away", {}, "")
        who = "" if by is None else by.job or by.login
        with hub.lock:
            done = Request(
                self.command, path, query, value, answer.status, who, trouble and trouble[0]
            )
            hub.requests.append(done)
        if trouble and trouble[0] == "silent":
            self.ended.wait(PATIENCE)
        if trouble and trouble[0] in ("lost", "silent", "away"):
            self.close_connection = True
            return
        self._send(answer, path, query, by)

    def _in_trouble(self, trouble: Trouble, headers: Any, message: str) -> Answer:
        status = trouble if isinstance(trouble, int) else 0
        words = {403: rest.NOT_ACCESSIBLE, 404: "Not Found", 429: "Too Many Requests"}
        said = message or words.get(status, "Server Error")
        value = {"message": said, "documentation_url": DOCUMENTATION}
        return Answer(value, status, headers=dict(headers))

    def _answer(self, path: str, query: dict[str, str], body: Any, by: Token | None) -> Answer:
        hub = self.about
        if path == "/graphql":
            with hub.lock:
                self._spend(by)
                return Answer(graph.answer(hub, by, body or {}))
        found = rest.find(self.command, path)
        if found is None:
            self._violate(self.described.unknown(self.command, path))
            raise Refused(404, rest.NOT_FOUND)
        one, params = found
        wrong = list(self.described.complaints(one.name, params, query, body))
        for complaint in wrong:
            self._violate(complaint)
        if wrong:
            raise Refused(422, "Invalid request.\n\n" + "\n".join(wrong))
        call = Call(hub, by, params, query, body or {})
        with hub.lock:
            if one.name != "GET /rate_limit":
                self._spend(by)
            rest.permit(one, call)
            if one.makes and by is not None and (too_many := hub.made(graph.purse(by), 1)):
                raise Refused(403, too_many)
            answer = one.handler(call)
            answer = self._paged(answer, path, query)
        if answer.raw is None and answer.value is not None:
            answer.value = self.described.complete(one.name, answer.status, answer.value, hub.api)
        for fault in self.described.own_faults(one.name, answer.status, answer.value):
            self._violate(f"the fake itself: {fault}")
        return answer

    def _violate(self, sentence: str) -> None:
        with self.about.lock:
            self.about.violations.append(sentence)

    def _token(self) -> Token | None:
        kind, _, text = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            text = base64.b64decode(text).decode().partition(":")[2]
        if not text:
            return None
        with self.about.lock:
            token = self.about.tokens.get(text)
        if token is None or token.is_over:
            raise Refused(401, "Bad credentials")
        return token

    def _spend(self, by: Token | None) -> None:
        hub = self.about
        most, used, _ = allowance(hub, by)
        if used >= most:
            raise Refused(403, "API rate limit exceeded for installation ID 1.")
        hub.used[_purse(by)] += 1

    def _paged(self, answer: Answer, path: str, query: dict[str, str]) -> Answer:
        if answer.listed is None:
            return answer
        size = min(int(query.get("per_page", 30)), MOST_PER_PAGE) or 1
        page, count = max(int(query.get("page", 1)), 1), len(answer.value)
        last = max((count + size - 1) // size, 1)
        shown = answer.value[(page - 1) * size : page * size]
        pages = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
        if page >= last:
            del pages["next"], pages["last"]
        if page == 1:
            del pages["prev"], pages["first"]
        if pages:
            url = self.about.api + quote(path)
            links = [
                f'<{url}?{urlencode({**query, "page": number})}>; rel="{name}"'
                for name, number in pages.items()
            ]
            answer.headers["Link"] = ", ".join(links)
        if answer.listed:
            shown = {"total_count": count, answer.listed: shown}
        return Answer(shown, answer.status, headers=answer.headers)

    def _send(self, answer: Answer, path: str, query: dict[str, str], by: Token | None) -> None:
        body = b""
        if answer.raw is not None:
            body = answer.raw
        elif answer.value is not None:
            body = json.dumps(answer.value).encode()
        headers = {"Content-Type": "application/json; charset=utf-8"}
        most, used, reset = allowance(self.about, by)
        headers |= {
            "X-RateLimit-Limit": str(most),
            "X-RateLimit-Remaining": str(most - used),
            "X-RateLimit-Used": str(used),
            "X-RateLimit-Reset": str(reset),
            "X-RateLimit-Resource": "graphql" if path == "/graphql" else "core",
        }
        if by is not None and by.scopes is not None:
            headers["X-OAuth-Scopes"] = ", ".join(by.scopes)
        if self.command == "GET" and answer.status == 200:
            headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()}"'
            if self.headers.get("If-None-Match") == headers["ETag"]:
                answer, body = Answer(status=304), b""
                with self.about.lock:
                    self.about.used[_purse(by)] -= 1
        self._write(answer.status, headers | answer.headers, body)

    def _write(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status not in (204, 304):
            self.wfile.write(body)

    def _blob(self, id: int) -> None:
        """Answer the files of an artifact in a zip, to whom the API sent here."""
        found = [
            repo.artifacts[id] for repo in self.about.repositories.values() if id in repo.artifacts
        ]
        if not found:
            self._write(404, {}, b"")
            return
        into = io.BytesIO()
        with zipfile.ZipFile(into, "w") as zipped:
            for file in sorted(one for one in found[0].folder.rglob("*") if one.is_file()):
                zipped.write(file, file.relative_to(found[0].folder))
        self._write(200, {"Content-Type": "application/zip"}, into.getvalue())

    # git

    def _git(self, name: str, rest_of_it: str, query: str, body: bytes) -> None:
        hub = self.about
        is_push = "git-receive-pack" in (query + rest_of_it)
        trouble = hub.trouble_for(f"GIT {name}.git/{rest_of_it}")
        if trouble is not None and trouble[0] != "lost":
            self._log_git(name, rest_of_it, None, 0, trouble[0])
            if trouble[0] == "silent":
                self.ended.wait(PATIENCE)
            if isinstance(trouble[0], int):
                self._write(trouble[0], {}, trouble[2].encode())
            self.close_connection = True
            return
        try:
            by = self._token()
            repository = self._repository(name, by, is_push)
        except Refused as refused:
            headers = {"WWW-Authenticate": 'Basic realm="GitHub"'} if refused.status == 401 else {}
            self._log_git(name, rest_of_it, None, refused.status, None)
            self._write(refused.status, headers, refused.message.encode())
            return
        status, headers_, payload = self._backend(repository, by, rest_of_it, query, body)
        self._log_git(name, rest_of_it, by, status, trouble and trouble[0])
        if trouble is not None:
            self.close_connection = True
            return
        self._write(status, dict(headers_), payload)

    def _log_git(
        self, name: str, what: str, by: Token | None, status: int, trouble: Trouble | None
    ) -> None:
        who = "" if by is None else by.job or by.login
        with self.about.lock:
            path = f"{name}.git/{what}"
            self.about.requests.append(Request("GIT", path, {}, None, status, who, trouble))

    def _repository(self, name: str, by: Token | None, is_push: bool) -> Repository:
        with self.about.lock:
            repository = self.about.repositories.get(name)
        if by is None and (is_push or repository is None or repository.private):
            raise Refused(401, "Authentication required")
        if repository is None:
            raise Refused(404, "Repository not found.")
        if by is None:
            return repository
        level = "write" if is_push else "read"
        if by.kind == "person":
            may, may_read = repository.may(by.login, level), repository.may(by.login, "read")
        else:
            is_own = by.repository == name
            may = is_own and at_least(by.permissions, "contents", level)
            may_read = is_own or not repository.private
            may |= not is_push and not repository.private
        if not may and not may_read:
            raise Refused(404, "Repository not found.")
        if not may:
            raise Refused(403, f"Permission to {name}.git denied to {by.login}.")
        return repository

    def _backend(
        self, repository: Repository, by: Token | None, what: str, query: str, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        root = self.about.root / "git"
        path = f"/{repository.name}.git/{what}"
        if by is None or what != "git-receive-pack":
            return git_server.backend(self, root, path, query, body, {"REMOTE_USER": "git"})
        closed = [
            f"refs/heads/{branch}"
            for branch, who in repository.protected.items()
            if by.login not in who
        ]
        may_edit_workflows = by.kind == "person" or at_least(by.permissions, "workflows", "write")
        with tempfile.NamedTemporaryFile("r", dir=self.about.root) as told:
            env = {
                "REMOTE_USER": by.login,
                "FORGE_PUSHED": told.name,
                "FORGE_CLOSED": " ".join(closed),
                "FORGE_NO_WORKFLOWS": "" if may_edit_workflows else "1",
            }
            answer = git_server.backend(self, root, path, query, body, env)
            lines = told.read().splitlines()
        self.about.pushed(repository, by, [_update(line) for line in lines])
        return answer


def _update(line: str) -> tuple[str, str, str]:
    old, new, ref = line.split(" ", 2)
    return old, new, ref


def _refusal(refused: Refused) -> Answer:
    value: dict[str, Any] = {
        "message": refused.message,
        "documentation_url": DOCUMENTATION,
        "status": str(refused.status),
    }
    if refused.errors:
        value["errors"] = list(refused.errors)
    headers = {"Retry-After": "60"} if refused.message == SECONDARY else {}
    return Answer(value, refused.status, headers=headers)


def _git_path(path: str) -> tuple[str, str] | None:
    """Return which repository git asks for, and what of it; the `.git` may be left out."""
    for end in ("info/refs", "git-upload-pack", "git-receive-pack"):
        if path.endswith("/" + end):
            name = unquote(path.removesuffix("/" + end).strip("/")).removesuffix(".git")
            return (name, end) if name.count("/") == 1 else None
    return None
