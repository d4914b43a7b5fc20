"""A small model behind real HTTP on loopback, in OpenAI's wire format, for machines without a provider's key.

It computes its answer from the request: it asks the tool for the issue whose number it reads in the conversation, then
labels it by the words that occur in it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LABELS = {
    "bug": "bug error fail crash panic broken wrong typo spelling regression".split(),
    "documentation": "doc readme typo spelling guide example".split(),
    "feature": ["feature", "support", "add ", "allow", "request", "would be"],
    "question": ["how ", "why ", "question", "?", "help"],
}


class LoopbackModel:
    """The model, from `with` to its end; `url` is its base URL."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> LoopbackModel:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        try:
            for event in stream(json.loads(body), len(body)):
                self.wfile.write(f"data: {event}\n\n".encode())
                self.wfile.flush()
        except ConnectionError:
            pass  # A client that goes away in the middle is no concern of the model.

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def stream(request: dict[str, Any], size: int) -> Iterator[str]:
    """The answer, in pieces."""
    head = {
        "id": f"chatcmpl-loopback-{len(request['messages'])}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": request["model"],
    }

    def chunk(delta: dict[str, Any] | None, reason: str | None = None, usage: dict[str, int] | None = None) -> str:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
        return json.dumps({**head, "choices": choices, "usage": usage})

    thought = think(request["messages"])
    if isinstance(thought, int):
        written = json.dumps({"number": thought})
        function = {"name": "lookup_issue", "arguments": written}
        call = {"index": 0, "id": f"call_{thought}", "type": "function", "function": function}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [call]})
        yield chunk({}, "tool_calls")
    else:
        written = thought
        for word in re.findall(r"\S+\s*", thought):
            yield chunk({"content": word})
        yield chunk({}, "stop")
    prompt, completion = size // 4, len(written) // 4 + 1
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    yield chunk(None, usage=counts)
    yield "[DONE]"


def think(messages: list[dict[str, Any]]) -> int | str:
    """What the model makes of the conversation: the number of an issue to look up, or something to say."""
    found = next((message for message in reversed(messages) if message["role"] == "tool"), None)
    if found is not None:
        try:
            return summary(json.loads(found["content"]))
        except (json.JSONDecodeError, TypeError, KeyError):
            return summary({"title": found["content"]})
    asked = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
    number = re.search(r"#(\d+)", asked)
    return int(number[1]) if number else "There is no issue number to look up."


def summary(issue: dict[str, Any]) -> str:
    """Two lines: the label and the title, and what else there is to know."""
    title, body = issue.get("title") or "untitled", issue.get("body") or ""
    words = f"{title}\n{body}".lower()
    scores = {label: sum(word in words for word in known) for label, known in LABELS.items()}
    best = max(scores, key=lambda label: scores[label])
    label = best if scores[best] else "triage"
    return (
        f"[{label}] {title}\n"
        f"Issue {issue.get('number')} is {issue.get('state', 'open')}, with {issue.get('comments', 0)} comments and "
        f"{len(body.split())} words of description."
    )
