"""An MCP server on standard input and output with one tool, `greet`; it notes what it was asked.

Started by a coding agent: `python mcp_server.py LOG`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

GREETING = "a greeting from the server"
TOOL = {
    "name": "greet",
    "description": "Return a greeting",
    "inputSchema": {"type": "object", "properties": {"name": {"type": "string"}}},
}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a request; what is not known has an empty one."""
    match method:
        case "initialize":
            return {
                "protocolVersion": params.get("protocolVersion", "2024-11-05"),
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "ours", "version": "1"},
            }
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            return {"content": [{"type": "text", "text": GREETING}]}
    return {}


def main(log: Path) -> None:
    """Answer each line until there are no more."""
    for line in sys.stdin:
        asked = json.loads(line)
        with log.open("a") as file:
            file.write(f"{asked.get('method')}\n")
        if "id" in asked:
            result = answer(str(asked.get("method")), asked.get("params") or {})
            reply = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
            sys.stdout.write(f"{json.dumps(reply)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
