"""Starts the gateway over a scripted provider, says where it is, and ends when its input does.

    python3 serve.py PROGRAM

PROGRAM is the built example `llm_gateway`. One line of JSON is printed: `base_url` and `key`. Libraries are tested
against a real process, over real HTTP on both sides.
"""

import base64
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "secret-of-the-provider"


class Provider(BaseHTTPRequestHandler):
    """A provider of OpenAI's chat completions and embeddings. The model's name and the prompt say what it answers."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/v1/embeddings":
            return self.whole(200, embeddings(body))
        # Two that are limited, because a model that has said so is left alone for a while.
        limited = (429, {"retry-after": "120"})
        failures = {"limited": limited, "throttled": limited, "invalid": (400, {}), "broken": (500, {})}
        if body["model"] in failures:
            status, headers = failures[body["model"]]
            error = {"message": f"{SECRET} {self.headers['authorization']}", "type": "x", "code": SECRET}
            return self.whole(status, {"error": error}, headers)
        message, finish = answer(body)
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
            return self.whole(200, {"id": "up-1", "model": body["model"], "choices": [choice], "usage": USAGE})
        self.stream(body, message, finish)

    def whole(self, status, body, headers=None):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, body, message, finish):
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()

        def chunk(choices, **more):
            data = {"id": "up-1", "model": body["model"], "choices": choices, **more}
            self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())

        def delta(delta, finish=None):
            chunk([{"index": 0, "delta": delta, "finish_reason": finish}])

        for piece in (message["content"] or "").split(" "):
            if piece:
                delta({"content": piece + " "} if message["content"].count(" ") else {"content": piece})
        if body["model"] == "cut":
            return
        for index, call in enumerate(message.get("tool_calls", [])):
            function = call["function"]
            delta({"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]})
            for piece in (function["arguments"][:5], function["arguments"][5:]):
                delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        delta({}, finish)
        chunk([], usage=USAGE)
        self.wfile.write(b"data: [DONE]\n\n")


USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 7,
    "total_tokens": 19,
    "prompt_tokens_details": {"cached_tokens": 4},
}


def embeddings(body):
    def vector(text):
        numbers = [float(len(text)), -0.5]
        if body.get("encoding_format") != "base64":
            return numbers
        return base64.b64encode(struct.pack("<2f", *numbers)).decode()

    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"index": at, "embedding": vector(text)} for at, text in enumerate(inputs)]
    return {"model": body["model"], "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}}


def answer(body):
    """The message a request is answered with, and why it ends."""
    messages = body["messages"]
    results = [message["content"] for message in messages if message["role"] == "tool"]
    if results:
        return {"content": "It is " + " and ".join(results)}, "stop"
    prompt = messages[-1]["content"]
    prompt = prompt if isinstance(prompt, str) else " ".join(part.get("text", part["type"]) for part in prompt)
    if body.get("response_format", {}).get("type") == "json_schema":
        return {"content": json.dumps({"name": "Ada", "age": 36})}, "stop"
    if body.get("tools") and body.get("tool_choice") != "none":
        cities = ["Paris", "Oslo"] if "and" in prompt else ["Paris"]
        name = body["tools"][0]["function"]["name"]
        calls = [
            {"id": f"call_{city}", "type": "function",
             "function": {"name": name, "arguments": json.dumps({"city": city})}}
            for city in cities
        ]
        return {"content": None, "tool_calls": calls}, "tool_calls"
    return {"content": f"You said: {prompt}"}, "stop"


def main():
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    provider.daemon_threads = True
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    models = ["echo", "limited", "throttled", "invalid", "broken", "cut"]

    def upstream(name):
        base_url = f"http://127.0.0.1:{provider.server_port}/v1"
        return {"type": "openai_compatible", "name": name, "base_url": base_url, "key_env": "UPSTREAM_KEY"}

    config = {
        "platform": {
            # Two, because a single provider is asked for whatever name nobody knows.
            "providers": [upstream("upstream"), upstream("spare")],
            "routing": {
                "routes": {model: {"targets": [f"upstream/{model}"]} for model in models},
                "max_attempts": 1,
            },
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "gateway.json")
        with open(file, "w") as out:
            json.dump(config, out)
        command = [sys.argv[1], "--config", file, "--listen", "127.0.0.1:0", "--bootstrap"]
        env = {**os.environ, "UPSTREAM_KEY": SECRET}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as gateway:
            key = gateway.stdout.readline().strip().removeprefix("key ")
            address = gateway.stdout.readline().strip().removeprefix("listening on ")
            print(json.dumps({"base_url": address, "key": key}), flush=True)
            sys.stdin.read()
            gateway.terminate()
            status = gateway.wait(timeout=30)
            if status != 0:
                sys.exit(f"the gateway ended with {status}")


if __name__ == "__main__":
    main()
