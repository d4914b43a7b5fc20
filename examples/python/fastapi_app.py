"""A FastAPI service that embeds the platform: authenticate, start a run, stream it by server-sent events.

    pip install fastapi uvicorn
    AGENTPROVISION_STORE=sqlite://app.db PEPPER='at least 16 bytes' python examples/python/fastapi_app.py

    curl -N -H "authorization: Bearer $KEY" -H 'content-type: application/json' \\
      -d '{"input": "Order 1234 never arrived"}' 'localhost:8000/runs?on_disconnect=cancel'

Without OPENAI_API_KEY a small written model answers. On the first start it makes a tenant and prints a key.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import uvicorn
from agentprovision import (
    AgentProvisionError,
    ChatEvent,
    ChatRequest,
    Context,
    NotFoundError,
    Platform,
    RunStream,
    UnauthenticatedError,
    model,
    tool,
)
from agentprovision.model import ContentText, MessageTool, MessageUser
from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel


@tool(effect="pure")
async def find_order(id: str) -> dict[str, str]:
    """Finds an order by its number."""
    return {"id": id, "state": "left the warehouse on Monday"}


@model("written", price={"input": "0.1", "output": "0.2"})
async def written(ctx: Context, request: ChatRequest) -> AsyncIterator[str | ChatEvent]:
    """Asks the tool once, then answers a word at a time until the caller goes away or the answer is whole.

    The pause is what makes it a stream to look at.
    """
    found = request.messages[-1]
    if not isinstance(found, MessageTool):
        asked = [message for message in request.messages if isinstance(message, MessageUser)]
        said = [part.text for part in asked[-1].content if isinstance(part, ContentText)] if asked else []
        number = re.search(r"\d+", said[0] if said else "")
        arguments = json.dumps({"id": number[0] if number else ""})
        yield {"type": "tool_call", "index": 0, "id": "call_1", "name": "find_order", "arguments": arguments}
        return
    thanks = "Thank you for your patience. " * int(os.environ.get("PATIENCE", "1"))
    for word in f"Your order {json.loads(found.content)['state']}. {thanks}".split():
        yield f"{word} "
        await asyncio.sleep(0.01)


async def provision(platform: Platform, model: str) -> None:
    """On an empty store: a tenant, its admin with a key, and a running agent."""
    operator = platform.operator("fastapi_app", reason="first start")
    if (await platform.tenants.list(operator)).items:
        return
    acme = await platform.tenants.create(operator, "acme", domain="acme.example")
    root = await platform.tenants.bootstrap_admin(operator, acme, "root@acme.example")
    ctx = await platform.context(acme, root)
    agent = await platform.agents.create(
        ctx, name="order desk", instructions="Answer in one sentence.", model=model, tools=[find_order]
    )
    await platform.agents.deploy(ctx, agent)
    key = await platform.keys.create(ctx, "first")
    print(f"key {key.secret}", flush=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Opens the platform in the process and the event loop that serve, and closes it at the end."""
    real = "OPENAI_API_KEY" in os.environ
    options: dict[str, Any] = {"pepper_env": "PEPPER"} if "PEPPER" in os.environ else {}
    async with Platform.open(
        os.environ.get("AGENTPROVISION_STORE", "memory://"),
        providers=["openai"] if real else [],
        models=[written],
        tools=[find_order],
        **options,
    ) as platform:
        await provision(platform, "gpt-4o-mini" if real else "written")
        app.state.platform = platform
        yield


app = FastAPI(lifespan=lifespan)


def the_platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


Embedded = Annotated[Platform, Depends(the_platform)]


async def caller(request: Request, platform: Embedded, authorization: Annotated[str, Header()] = "") -> Context:
    """Who calls, by the API key of the request."""
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthenticatedError("give an API key as `Authorization: Bearer`")
    address = request.client.host if request.client else ""
    agent = request.headers.get("user-agent", "")
    return await platform.authenticate(key, info={"ip_address": address, "user_agent": agent})


Caller = Annotated[Context, Depends(caller)]


class Question(BaseModel):
    input: str


@app.post("/runs")
async def start(
    question: Question,
    ctx: Caller,
    platform: Embedded,
    on_disconnect: Literal["continue", "cancel"] = "continue",
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    agents = await platform.agents.list(ctx, state="running", limit=1)
    if not agents.items:
        raise NotFoundError("no agent runs")
    run = await platform.runs.start(
        ctx, agents.items[0], question.input, idempotency_key=idempotency_key, on_disconnect=on_disconnect
    )
    # The response holds the only watcher: when the client goes away, so does the stream.
    return StreamingResponse(sse(run.events()), media_type="text/event-stream", headers={"x-run": run.id})


async def sse(events: RunStream) -> AsyncIterator[str]:
    async with events:
        async for event in events:
            yield f"id: {event.cursor}\nevent: {event.event}\ndata: {event.to_json()}\n\n"


@app.get("/runs/{run}/events")
async def follow(
    run: str, ctx: Caller, platform: Embedded, last_event_id: Annotated[str | None, Header()] = None
) -> Response:
    """What a client that lost its stream asks for: nothing is missed or repeated."""
    return StreamingResponse(sse(platform.runs.events(ctx, run, after=last_event_id)), media_type="text/event-stream")


@app.get("/runs/{run}")
async def record(run: str, ctx: Caller, platform: Embedded) -> Response:
    found = await platform.runs.record(ctx, run)
    return Response(found.to_json(), media_type="application/json")


@app.exception_handler(AgentProvisionError)
async def refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, AgentProvisionError)
    headers = {} if error.retry_after is None else {"retry-after": str(round(error.retry_after + 0.5))}
    body = {"error": {"code": error.code, "message": str(error)}}
    return JSONResponse(body, status_code=error.http_status, headers=headers)


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    # Streams that are not over by then end with the server; their runs do what their starts said.
    uvicorn.run(app, host="127.0.0.1", port=port, timeout_graceful_shutdown=2)
