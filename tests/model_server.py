"""A stand-in for the model behind a coding agent, on this machine's loopback.

It speaks as much of the Anthropic Messages, OpenAI Responses, OpenAI Chat Completions and Gemini
interfaces as the agents need, and plays a script: a list of moves, one for each answer to the
last prompt, the last one again and again.  A move becomes a call of whichever of the agent's tools
does such a thing; @WORD@ in it is the word that the prompt wants a verdict to carry.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

Body = Mapping[str, Any]
IN, OUT = 11, 7
"""Tokens that every answer is said to have cost."""


@dataclass(frozen=True)
class Say:
    """Say something and be done."""

    text: str


@dataclass(frozen=True)
class Write:
    """Write a file, of which the path is given from where the agent started."""

    path: str
    text: str


@dataclass(frozen=True)
class Run:
    """Run a shell command."""

    command: str


@dataclass(frozen=True)
class Use:
    """Use the tool whose name, as the agent has it, ends in this one."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Break:
    """Answer with an HTTP status that is no answer."""

    status: int
    message: str = "Overloaded"


@dataclass(frozen=True)
class Hang:
    """Answer nothing until the server ends."""


Move = Say | Write | Run | Use | Break | Hang


@dataclass(frozen=True)
class Asked:
    """One request for an answer: what was offered, and all that was said, as JSON."""

    path: str
    model: str
    tools: tuple[str, ...]
    said: str


@dataclass(frozen=True)
class _Call:
    """A call of a tool, in no dialect yet."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass
class ModelServer:
    """What is listening; `asked` grows with every request that a model would have answered."""

    url: str
    script: Sequence[Move]
    asked: list[Asked] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    @property
    def prompts(self) -> list[Asked]:
        """Return the requests that offered tools: agents ask for titles and names without any."""
        return [each for each in self.asked if each.tools]

    def move(self, turn: int) -> Move:
        """Return the answer after `turn` results of tools."""
        return self.script[min(turn, len(self.script) - 1)]


def closed_port() -> int:
    """Return a port of the loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serving(*script: Move, port: int = 0) -> Iterator[ModelServer]:
    """Serve a script on a port of the loopback, a free one if none is named, for the block."""

    class Handler(_Handler):
        model: ModelServer

    httpd = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    httpd.daemon_threads = True
    Handler.model = ModelServer(f"http://127.0.0.1:{httpd.server_port}", script)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield Handler.model
    finally:
        Handler.model.ending.set()
        httpd.shutdown()
        thread.join()
        httpd.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: ModelServer

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        """Say that somebody is here."""
        self._send(b"", "text/plain", 200)

    def do_GET(self) -> None:
        """List the one model."""
        model = {"id": "fake-model", "object": "model"}
        self._json({"object": "list", "data": [model], "models": []})

    def do_POST(self) -> None:
        """Answer as a model."""
        try:
            body = json.loads(self._read() or b"{}")
        except ValueError:
            body = {}
        path = self.path.split("?")[0]
        for end, answer in _DIALECTS.items():
            if end in path:
                return self._answer(path, body, answer)
        return self._json({"input_tokens": IN})

    def _answer(self, path: str, body: Body, dialect: _Dialect) -> None:
        tools = dialect.tools(body)
        asked = Asked(self.path, str(body.get("model", "")), tuple(tools), json.dumps(body))
        self.model.asked.append(asked)
        move = self.model.move(dialect.turns(body))
        if isinstance(move, Hang):
            self.model.ending.wait()
            move = Break(503)
        if isinstance(move, Break):
            error = {"type": "overloaded_error", "message": move.message}
            return self._json({"type": "error", "error": error}, move.status)
        streams = "stream" in path or bool(body.get("stream"))
        answer = dialect.answer(body, _done_with(_filled(move, asked.said), tools), streams)
        if streams:
            return self._send(_events(answer), "text/event-stream", 200)
        return self._json(answer[0])

    def _read(self) -> bytes:
        if (self.headers.get("transfer-encoding") or "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        data = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", status)

    def _send(self, data: bytes, kind: str, status: int) -> None:
        try:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            if status >= 400:  # whoever looks at it tries again at once
                self.send_header("retry-after-ms", "10")
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the agent was ended meanwhile


def _events(answer: Sequence[Any]) -> bytes:
    text = ""
    for event in answer:
        if isinstance(event, dict) and "type" in event:
            text += f"event: {event['type']}\n"
        text += f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n"
    return text.encode()


# --- a move as the agent's own tools do it --------------------------------------------------------

_WRITERS: Mapping[str, Callable[[str, str], dict[str, Any]]] = {
    "Write": lambda path, text: {"file_path": path, "content": text},
    "write_file": lambda path, text: {"file_path": path, "content": text},
    "write": lambda path, text: {"filePath": path, "content": text},
}
_SHELLS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "Bash": lambda command: {"command": command, "description": "run it"},
    "bash": lambda command: {"command": command, "description": "run it"},
    "run_shell_command": lambda command: {"command": command},
    "exec_command": lambda command: {"cmd": command},
    "shell_command": lambda command: {"command": command},
    "shell": lambda command: {"command": ["bash", "-c", command]},
}


def _filled(move: Say | Write | Run | Use, said: str) -> Say | Write | Run | Use:
    """Return a move with the word that a reviewer is told in the place of @WORD@."""
    told = re.findall(r"`word: ([a-z]+)`", said)
    word = told[-1] if told else ""
    match move:
        case Say(text):
            return Say(text.replace("@WORD@", word))
        case Run(command):
            return Run(command.replace("@WORD@", word))
        case Write(path, text):
            return Write(path, text.replace("@WORD@", word))
        case Use():
            return move


def _done_with(move: Say | Write | Run | Use, tools: Sequence[str]) -> _Call | str:
    """Return a move as a call of one of the tools, or as a text where there is no such tool."""
    if isinstance(move, Use):
        for name in tools:
            if name.endswith(move.tool):
                return _Call(name, move.arguments)
        return f"There is no tool {move.tool}."
    if isinstance(move, Say):
        return move.text
    if isinstance(move, Write):
        for name, arguments in _WRITERS.items():
            if name in tools:
                return _Call(name, arguments(move.path, move.text))
        if not tools:  # an agent that reads whole files out of the text
            return f"{move.path}\n```\n{move.text.rstrip()}\n```\n"
        path = shlex.quote(move.path)
        move = Run(f"printf %s {shlex.quote(move.text)} > {path}")
    for name, command in _SHELLS.items():
        if name in tools:
            return _Call(name, command(move.command))
    return f"There is no tool to run: {move.command}"


# --- four dialects --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Dialect:
    """How an interface offers tools, shows that they were used, and wants its answer.

    `turns` is how many answers the last prompt has had; `answer` the events of a stream, or one
    object.
    """

    tools: Callable[[Body], list[str]]
    turns: Callable[[Body], int]
    answer: Callable[[Body, _Call | str, bool], list[Any]]


def _since(entries: Sequence[Any], is_result: Callable[[Any], bool | None]) -> int:
    """Return how many results stand behind the last prompt; None means neither of both."""
    found = 0
    for entry in reversed(entries):
        kind = is_result(entry)
        if kind is False:
            break
        found += kind is True
    return found


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex[:20]}"


def _messages_tools(body: Body) -> list[str]:
    return [str(tool.get("name")) for tool in body.get("tools") or []]


def _messages_turns(body: Body) -> int:
    def is_result(message: Any) -> bool | None:
        if message["role"] != "user":
            return None
        content = message["content"]
        return isinstance(content, list) and any(c.get("type") == "tool_result" for c in content)

    return _since(body.get("messages") or [], is_result)


def _messages_answer(body: Body, done: _Call | str, streams: bool) -> list[Any]:
    usage = {
        "input_tokens": IN,
        "output_tokens": OUT,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
    block: dict[str, Any]
    empty: dict[str, Any]
    if isinstance(done, str):
        stop, block = "end_turn", {"type": "text", "text": done}
        empty = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": done}
    else:
        call = {"type": "tool_use", "id": _id("toolu"), "name": done.tool}
        stop, block, empty = "tool_use", {**call, "input": done.arguments}, {**call, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(done.arguments)}
    message = {
        "id": _id("msg"),
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "stop_sequence": None,
        "usage": usage,
    }
    if not streams:
        return [{**message, "content": [block], "stop_reason": stop}]
    return [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop, "stop_sequence": None},
            "usage": {"output_tokens": OUT},
        },
        {"type": "message_stop"},
    ]


def _responses_tools(body: Body) -> list[str]:
    """Return the names, each with its namespace before a slash if it is in one."""
    found = []
    for tool in body.get("tools") or []:
        name = str(tool.get("name") or tool.get("type"))
        inner = tool.get("tools") if tool.get("type") == "namespace" else None
        found += [f"{name}/{each.get('name')}" for each in inner] if inner else [name]
    return found


def _responses_turns(body: Body) -> int:
    def is_result(item: Any) -> bool | None:
        if str(item.get("type", "")).endswith("_output"):
            return True
        return False if item.get("role") == "user" else None

    entries = body.get("input")
    return _since(entries if isinstance(entries, list) else [], is_result)


def _responses_answer(body: Body, done: _Call | str, streams: bool) -> list[Any]:
    if isinstance(done, str):
        text = {"type": "output_text", "text": done, "annotations": []}
        item = {
            "type": "message",
            "id": _id("msg"),
            "role": "assistant",
            "status": "completed",
            "content": [text],
        }
    else:
        item = {
            "type": "function_call",
            "id": _id("fc"),
            "call_id": _id("call"),
            "name": done.tool.rpartition("/")[2],
            "arguments": json.dumps(done.arguments),
        }
        if "/" in done.tool:
            item["namespace"] = done.tool.partition("/")[0]
    response = {
        "id": _id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "model": body.get("model"),
        "output": [item],
        "usage": {
            "input_tokens": IN,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": OUT,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": IN + OUT,
        },
    }
    if not streams:
        return [response]
    begun = {**response, "status": "in_progress", "output": []}
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]


def _chat_tools(body: Body) -> list[str]:
    return [str((tool.get("function") or {}).get("name")) for tool in body.get("tools") or []]


def _chat_turns(body: Body) -> int:
    def is_result(message: Any) -> bool | None:
        return {"tool": True, "user": False}.get(message.get("role"))

    return _since(body.get("messages") or [], is_result)


def _chat_answer(body: Body, done: _Call | str, streams: bool) -> list[Any]:
    base = {"id": _id("chatcmpl"), "created": int(time.time()), "model": body.get("model")}
    usage = {"prompt_tokens": IN, "completion_tokens": OUT, "total_tokens": IN + OUT}
    message: dict[str, Any] = {"role": "assistant"}
    if isinstance(done, str):
        finish, message["content"] = "stop", done
    else:
        function = {"name": done.tool, "arguments": json.dumps(done.arguments)}
        call = {"index": 0, "id": _id("call"), "type": "function", "function": function}
        finish, message["content"], message["tool_calls"] = "tool_calls", None, [call]
    if not streams:
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return [{**base, "object": "chat.completion", "choices": [choice], "usage": usage}]
    chunk = {**base, "object": "chat.completion.chunk"}
    return [
        {**chunk, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        {
            **chunk,
            "choices": [{"index": 0, "delta": {}, "finish_reason": finish}],
            "usage": usage,
        },
        "[DONE]",
    ]


def _gemini_tools(body: Body) -> list[str]:
    return [
        str(function.get("name"))
        for tool in body.get("tools") or []
        for function in tool.get("functionDeclarations") or []
    ]


def _gemini_turns(body: Body) -> int:
    def is_result(content: Any) -> bool | None:
        if content.get("role") == "model":
            return None
        return any("functionResponse" in part for part in content.get("parts", []))

    return _since(body.get("contents") or [], is_result)


def _gemini_answer(body: Body, done: _Call | str, streams: bool) -> list[Any]:
    part: dict[str, Any]
    if isinstance(done, str):
        part = {"text": done}
    else:
        part = {"functionCall": {"name": done.tool, "args": done.arguments}}
    content = {"role": "model", "parts": [part]}
    usage = {"promptTokenCount": IN, "candidatesTokenCount": OUT, "totalTokenCount": IN + OUT}
    return [
        {
            "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
            "usageMetadata": usage,
        }
    ]


_DIALECTS: Mapping[str, _Dialect] = {
    "/count_tokens": _Dialect(lambda _: [], lambda _: 0, lambda *_: [{"input_tokens": IN}]),
    "/messages": _Dialect(_messages_tools, _messages_turns, _messages_answer),
    "/responses": _Dialect(_responses_tools, _responses_turns, _responses_answer),
    "/chat/completions": _Dialect(_chat_tools, _chat_turns, _chat_answer),
    "enerateContent": _Dialect(_gemini_tools, _gemini_turns, _gemini_answer),
}
