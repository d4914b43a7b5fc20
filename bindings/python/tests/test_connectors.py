"""Connectors and integrations: one of the library, and one that is a class in Python."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest
from agentprovision import (
    ConflictError,
    Connector,
    ConnectorCall,
    InvalidInputError,
    NotFoundError,
    Platform,
    ProviderError,
    RateLimitedError,
    UnsupportedError,
    operation,
    testing,
)
from agentprovision import sync as blocking
from support import Home, agent, blocking_agent, blocking_home, calls, home, store_in

LOOPBACK = {"name": "loopback", "ranges": ["127.0.0.0/8"], "plain_http": True, "any_port": True}
Answer = tuple[int, dict[str, str], Any]


@dataclass
class Service:
    """A service over HTTP, which keeps what it was asked."""

    url: str
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    answer: Callable[[str, str, Any], Answer] = lambda method, path, body: (404, {}, {"message": "there is no such thing"})


@pytest.fixture
def service() -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = self.rfile.read(int(self.headers.get("content-length", 0)))
            body = json.loads(text) if text[:1] in (b"{", b"[") else text
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.asked.append((self.command, self.path, headers, body))
            status, more, said = found.answer(self.command, self.path, body)
            answer = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", "content-length": str(len(answer)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Service(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@dataclass
class Ticket:
    """A ticket."""

    number: int
    title: str


class Desk(Connector):
    """Tickets of the help desk.

    And more of that.
    """

    name = "desk"
    title = "Help desk"
    auth = "bearer"
    settings = {"signature": "What stands under tickets."}
    headers = {"x-from": "python"}
    whoami = ("users.me", "/id", "/login")

    def __init__(self) -> None:
        self.made: list[ConnectorCall | blocking.ConnectorCall] = []

    @operation(name="users.me", effect="read")
    async def me(self, call: ConnectorCall) -> dict[str, Any]:
        """Whose token it is."""
        response = await call.send("GET", "/me")
        found: dict[str, Any] = response.json()
        return found

    @operation(name="tickets.create", timeout=10, scopes=["tickets"])
    async def create_ticket(
        self, call: ConnectorCall, queue: str, title: str, urgency: Literal["low", "high"] = "low"
    ) -> Ticket:
        """Makes a ticket.

        Args:
            queue: The queue.
            title: The title.
        """
        self.made.append(call)
        made = {"title": f"{title} ({call.settings['signature']})", "urgency": urgency}
        headers = {} if call.idempotency_key is None else {"idempotency-key": call.idempotency_key}
        answer = await call.send("POST", "/queues/{queue}/tickets", params={"queue": queue}, json=made, headers=headers)
        return Ticket(**answer.json())

    @operation(name="tickets.get", effect="read")
    def get_ticket(self, call: blocking.ConnectorCall, number: int) -> Ticket:
        """Gets a ticket."""
        self.made.append(call)
        return Ticket(**call.send("GET", "/tickets/{number}", params={"number": number, "fields": ["a", "b&c"]}).json())

    @operation(name="odd.things", effect="read")
    async def odd_things(self, call: ConnectorCall, what: str) -> Ticket:
        """Does what it must not."""
        if what == "raise":
            raise KeyError(f"no such thing with {call.credentials['token']}")
        if what == "say so":
            raise ConflictError("the desk is closed")
        if what == "elsewhere":
            await call.send("GET", "https://elsewhere.example/")
        if what == "bytes":
            answer = await call.send("PUT", "/bytes", body=b"\xff\x00", headers={"content-type": "x/y"}, check=False)
            raise ConflictError(f"{answer.status} {answer.body!r} {answer.text!r}")
        return Ticket(number="seven", title="x")  # type: ignore[arg-type]


def answer(method: str, path: str, body: Any) -> Answer:
    if path == "/me":
        return 200, {}, {"id": 7, "login": "ada"}
    if path == "/bytes":
        return 418, {"content-type": "x/y"}, b"\xfe"
    if path.endswith("/tickets"):
        return 200, {}, {"number": 7, "title": body["title"]}
    if path.startswith("/tickets/7"):
        return 200, {}, {"number": 7, "title": "It burns"}
    return 404, {}, {"message": "there is no ticket"}


SETUP: dict[str, Any] = {"auth": None, "credentials": {"token": "canary-1234"}}


def settings(service: Service) -> dict[str, Any]:
    service.answer = answer
    return {"settings": {"base_url": service.url, "signature": "Yours"}, **SETUP}


def opened(desk: Connector, **more: Any) -> dict[str, Any]:
    return {"connectors": {"enabled": ["github", desk], "networks": [LOOPBACK]}, **more}


async def allowed(platform: Platform) -> Home:
    """A tenant whose `ctx` may use integrations."""
    found = await home(platform)
    return Home(found.tenant, found.admin, found.admin)


@pytest.mark.anyio
async def test_a_connector_is_a_class(service: Service) -> None:
    desk = Desk()
    async with Platform.open(**opened(desk)) as platform:
        acme = await allowed(platform)
        known = await platform.connectors.list(acme.ctx)
        assert [one.name for one in known] == ["desk", "github"]
        assert (known[0].title, known[0].summary) == ("Help desk", "Tickets of the help desk.")
        details = await platform.connectors.get(acme.ctx, "desk")
        create = next(one for one in details.operations if one.name == "tickets.create")
        assert (create.tool, create.effect, create.scopes) == ("desk_tickets_create", "write", ["tickets"])
        assert create.input["properties"]["queue"] == {"type": "string", "description": "The queue."}
        assert create.input["required"] == ["queue", "title"]

        made = await platform.integrations.create(acme.ctx, "my desk", "desk", **settings(service))
        tested = await platform.integrations.test(acme.ctx, made)
        assert tested.healthy and tested.account is not None and tested.account.id == "7"
        given = {"queue": "a b/c", "title": "It burns"}
        ticket = await platform.integrations.invoke(acme.ctx, made, "tickets.create", given, idempotency_key="k")
        assert ticket == {"number": 7, "title": "It burns (Yours)"}
        again = await platform.integrations.invoke(acme.ctx, made.id, "tickets.create", given, idempotency_key="k")
        assert again == ticket
        posts = [asked for asked in service.asked if asked[0] == "POST"]
        (method, path, headers, body), = posts
        assert (path, body) == ("/queues/a%20b%2Fc/tickets", {"title": "It burns (Yours)", "urgency": "low"})
        assert (headers["authorization"], headers["x-from"]) == ("Bearer canary-1234", "python")
        assert headers["idempotency-key"] == "k"
        call = desk.made[0]
        assert (call.integration, call.idempotency_key, call.run) == (made.id, "k", None)
        assert call.deadline.tzinfo is not None
        assert "canary" not in repr(call.credentials) + repr(call) and call.credentials == {"token": "canary-1234"}
        with pytest.raises(ConflictError, match="the call of the operation is over"):
            assert isinstance(call, ConnectorCall)
            await call.send("GET", "/me")

        # A method in a thread, with the blocking call.
        got = await platform.integrations.invoke(acme.ctx, made, "tickets.get", {"number": 7})
        assert got == {"number": 7, "title": "It burns"}
        assert service.asked[-1][1] == "/tickets/7?fields=a&fields=b%26c"
        # What the service refuses is what it stands for, with its facts.
        with pytest.raises(NotFoundError) as missing:
            await platform.integrations.invoke(acme.ctx, made, "tickets.get", {"number": 8})
        assert missing.value.context["status"] == "404" and "there is no ticket" in str(missing.value)
        service.answer = lambda *_: (429, {"retry-after": "3600"}, {})
        with pytest.raises(RateLimitedError) as limited:
            await platform.integrations.invoke(acme.ctx, made, "tickets.get", {"number": 7})
        assert limited.value.retryable


@pytest.mark.anyio
async def test_what_goes_wrong_in_an_operation(service: Service) -> None:
    async with Platform.open(**opened(Desk())) as platform:
        acme = await allowed(platform)
        made = await platform.integrations.create(acme.ctx, "my desk", "desk", **settings(service))

        async def odd(what: str, **options: Any) -> Any:
            return await platform.integrations.invoke(acme.ctx, made, "odd.things", {"what": what}, **options)

        # The exception itself comes back, unless it says what it must not.
        with pytest.raises(ConflictError, match="^the desk is closed$"):
            await odd("say so")
        with pytest.raises(Exception, match="no such thing with") as raised:
            await odd("raise")
        assert "canary" not in str(raised.value)
        with pytest.raises(ProviderError, match="`/number`"):
            await odd("wrong")
        with pytest.raises(InvalidInputError, match="is no path under"):
            await odd("elsewhere")
        with pytest.raises(ConflictError, match=r"418 b'\\xfe' '\ufffd'"):
            await odd("bytes")
        assert service.asked[-1][3] == b"\xff\x00"
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"queue": "q"}, '"title" is a required property'),
            ({"queue": 7, "title": "t"}, "`/queue`"),
            ({"queue": "q", "title": "t", "urgency": "medium"}, "`/urgency`"),
            ({"queue": "q", "title": "t", "colour": "red"}, "colour"),
        ]
        for given, named in wrong:
            with pytest.raises(InvalidInputError, match=named):
                await platform.integrations.invoke(acme.ctx, made, "tickets.create", given)
        with pytest.raises(NotFoundError, match="did you mean `tickets.create`"):
            await platform.integrations.invoke(acme.ctx, made, "tickets.craete")
        service.answer = lambda *_: (200, {}, b"<html>")
        create = {"queue": "q", "title": "t"}
        with pytest.raises(ProviderError, match="is no JSON"):
            await platform.integrations.invoke(acme.ctx, made, "tickets.create", create, idempotency_key="once")
        # It was sent, and nobody knows what came of it.
        with pytest.raises(ConflictError, match="under way under this key"):
            await platform.integrations.invoke(acme.ctx, made, "tickets.create", create, idempotency_key="once")


@pytest.mark.anyio
async def test_an_operation_is_a_tool_of_an_agent(service: Service) -> None:
    desk = Desk()
    model = calls("desk_tickets_create", "desk_tickets_get", queue="q", title="It burns", number=7)
    async with Platform.open(**opened(desk, models=[model])) as platform:
        acme = await allowed(platform)
        made = await platform.integrations.create(acme.ctx, "my desk", "desk", **settings(service))
        tools = ["desk_tickets_create", "desk_tickets_get"]
        made_agent = await agent(platform, acme.ctx, tools=tools, capabilities=["integrations:invoke"])
        run = await platform.runs.start(acme.ctx, made_agent, "go")
        outcome = await run.wait()
        steps = [step for step in outcome.chain.steps if step.kind == "tool"]
        # Each was given the other's fields too.
        assert [step.error.kind if step.error else None for step in steps] == ["invalid_input", "invalid_input"]
        assert not service.asked and not desk.made

    desk = Desk()
    async with Platform.open(**opened(desk, models=[calls("desk_tickets_create", queue="q", title="t")])) as platform:
        acme = await allowed(platform)
        made = await platform.integrations.create(acme.ctx, "my desk", "desk", **settings(service))
        made_agent = await agent(
            platform, acme.ctx, tools=["desk_tickets_create"], capabilities=["integrations:invoke"]
        )
        run = await platform.runs.start(acme.ctx, made_agent, "go")
        outcome = await run.wait()
        step = outcome.chain.steps[1]
        assert (step.name, step.success) == ("desk_tickets_create", True)
        assert (desk.made[0].run, desk.made[0].agent) == (run.id, made_agent.id)
        usage = await platform.usage.events(acme.ctx)
        assert [event.run for event in usage if event.meter == "integration.calls"] == [run.id]
        assert made.state == "active"


def test_the_same_without_a_loop(service: Service) -> None:
    model = calls("desk_tickets_get", number=7)
    with blocking.Platform.open(**opened(Desk(), models=[model])) as platform:
        acme = blocking_home(platform)
        ctx = acme.admin
        made = platform.integrations.create(ctx, "my desk", "desk", **settings(service))
        create = {"queue": "q", "title": "t"}
        assert platform.integrations.invoke(ctx, made, "tickets.create", create)["number"] == 7
        assert platform.integrations.invoke(ctx, made, "tickets.get", {"number": 7})["title"] == "It burns"
        with pytest.raises(ConflictError, match="the desk is closed"):
            platform.integrations.invoke(ctx, made, "odd.things", {"what": "say so"})
        with pytest.raises(InvalidInputError, match="`/number`"):
            platform.integrations.invoke(ctx, made, "tickets.get", {"number": "seven"})
        made_agent = blocking_agent(platform, ctx, tools=["desk_tickets_get"], capabilities=["integrations:invoke"])
        outcome = platform.runs.start(ctx, made_agent, "go").wait()
        assert outcome.chain.steps[1].success
        listed = platform.integrations.list(ctx, connector="desk", state="active")
        assert [one.name for one in platform.integrations.iterate(ctx)] == [one.name for one in listed] == ["my desk"]
        changed = platform.integrations.update(ctx, made, name="our desk", enabled=False)
        assert (changed.name, changed.state) == ("our desk", "disabled")
        with pytest.raises(ConflictError, match="disabled"):
            platform.integrations.invoke(ctx, made, "users.me")
        platform.integrations.delete(ctx, made)
        with pytest.raises(NotFoundError):
            platform.integrations.get(ctx, made)


ISSUE = {
    "id": 1,
    "number": 42,
    "title": "It burns",
    "state": "open",
    "comments": 0,
    "locked": False,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "html_url": "https://github.example/o/r/issues/42",
}


@pytest.mark.anyio
async def test_a_connector_of_the_library(service: Service, tmp_path: Path) -> None:
    service.answer = lambda method, path, body: (201, {}, ISSUE) if method == "POST" else (404, {}, {})
    network = {"networks": [LOOPBACK], "sealing_key_env": "KEY"}
    options: dict[str, Any] = {"connectors": {"enabled": ["github"], **network}, "secrets": {"KEY": "07" * 32}}
    async with Platform.open(store_in(tmp_path), **options) as platform:
        acme = await allowed(platform)
        url = {"base_url": service.url}
        made = await platform.integrations.create(
            acme.ctx, "code", "github", settings=url, credentials={"token": "canary-github"}
        )
        assert "canary" not in repr(made)
        issue = await platform.integrations.invoke(
            acme.ctx, made, "issues.create", {"owner": "o", "repo": "r", "title": "It burns"}, idempotency_key="k"
        )
        assert (issue["number"], issue["html_url"]) == (42, ISSUE["html_url"])
        (_, path, headers, body), = service.asked
        assert (path, headers["authorization"]) == ("/repos/o/r/issues", "Bearer canary-github")
        assert body == {"title": "It burns"}
        with pytest.raises(InvalidInputError, match='"title" is a required property'):
            await platform.integrations.invoke(acme.ctx, made, "issues.create", {"owner": "o", "repo": "r"})
        # Granted in a browser, with an application the host registers.
        browser = await platform.integrations.create(acme.ctx, "granted", "github", auth="oauth", settings=url)
        with pytest.raises(InvalidInputError, match="no application is registered"):
            await platform.integrations.authorize(acme.ctx, browser, "https://host.example/callback")
        with pytest.raises(InvalidInputError, match="state"):
            await platform.integrations.connect(acme.ctx, browser, state=f"{browser.id}.x", code="x")
    # A store that lasts takes no credentials without a key.
    async with Platform.open(store_in(tmp_path), connectors=["github"]) as platform:
        other = await home(platform, "other")
        with pytest.raises(UnsupportedError):
            await platform.integrations.create(other.admin, "code", "github", credentials={"token": "x"})


class Granted(Connector):
    """A service that is granted in a browser, and one whose credentials are used in a way of its own."""

    name = "granted"
    base_url = "https://granted.example"
    auth = [
        {
            "type": "oauth",
            "authorize_url": "https://granted.example/authorize",
            "token_url": "https://granted.example/token",
            "scopes": ["all"],
        },
        {"type": "header", "header": "x-api-key"},
    ]
    credentials = {"user": "The user.", "secret": "The secret."}

    @operation
    async def look(self, call: ConnectorCall) -> dict[str, str]:
        return dict(call.credentials)


@pytest.mark.anyio
async def test_ways_to_prove_who_asks() -> None:
    connectors = {"enabled": [Granted()], "apps": {"granted": {"client_id": "app-1"}}}
    async with Platform.open(connectors=connectors) as platform:
        acme = await allowed(platform)
        (info,) = await platform.connectors.list(acme.ctx)
        assert [(way.name, way.in_browser) for way in info.auth] == [("oauth", True), ("key", False), ("credentials", False)]
        made = await platform.integrations.create(acme.ctx, "browser", "granted")
        begun = await platform.integrations.authorize(acme.ctx, made, "https://host.example/back", scopes=["some"])
        assert begun.url.startswith("https://granted.example/authorize?") and "app-1" in begun.url
        assert begun.state.startswith(made.id)
        given = {"user": "ada", "secret": "canary"}
        own = await platform.integrations.create(acme.ctx, "own", "granted", auth="credentials", credentials=given)
        assert await platform.integrations.invoke(acme.ctx, own, "look") == given
        with pytest.raises(InvalidInputError, match="`secret`"):
            await platform.integrations.create(acme.ctx, "less", "granted", auth="credentials", credentials={"user": "a"})


def test_operations_are_methods_still() -> None:
    class Plain(Connector):
        name = "plain"

        @operation
        def add(self, call: object, one: int, two: int) -> int:
            return one + two

    assert Plain().add(None, one=1, two=2) == 3
    assert Plain.add.name == "add" and Plain.operations()["add"] is Plain.add


def test_connectors_that_cannot_be() -> None:
    class Twice(Connector):
        name = "twice"

        @operation(name="a")
        async def one(self, call: ConnectorCall) -> None: ...

        @operation(name="a")
        async def two(self, call: ConnectorCall) -> None: ...

    class Nameless(Connector):
        @operation
        async def look(self, call: ConnectorCall) -> None: ...

    class Shouting(Nameless):
        name = "LOUD"

    class Misspelt(Nameless):
        name = "misspelt"
        auth = {"type": "haeder", "header": "x"}  # type: ignore[assignment]

    for given, named in [
        (Twice(), "two operations called `a`"),
        (Nameless(), "`Nameless` has no `name`"),
        (Shouting(), "`LOUD` is no name"),
        (Misspelt(), "did you mean `header`"),
        (Desk, r"`Desk\(\)`"),
        (7, "not a value of type `int`"),
        ("gihub", "unknown connector `gihub`"),
    ]:
        with pytest.raises(InvalidInputError, match=named):
            blocking.Platform.open(connectors=[given])  # type: ignore[list-item]
    for wrong in ("github", 7):
        with pytest.raises(InvalidInputError, match="`connectors` is a list"):
            blocking.Platform.open(connectors=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="did you mean `enabled`"):
        blocking.Platform.open(connectors={"enabeld": []})

    def no_call(self: Desk) -> None: ...

    def wrong_call(self: Desk, call: ConnectorCall) -> None: ...

    async def other_wrong_call(self: Desk, call: blocking.ConnectorCall) -> None: ...

    def no_hint(self: Desk, call: object, number) -> None: ...  # type: ignore[no-untyped-def]

    def no_schema(self: Desk, call: object) -> threading.Thread: ...  # type: ignore[empty-body]

    methods: list[tuple[Any, str]] = [
        (no_call, "takes `self` and its call"),
        (wrong_call, "agentprovision.sync.ConnectorCall"),
        (other_wrong_call, "agentprovision.ConnectorCall"),
        (no_hint, "no type hint"),
        (no_schema, "no JSON Schema"),
    ]
    for method, named in methods:
        with pytest.raises(InvalidInputError, match=named):
            operation(method)
    with pytest.raises(InvalidInputError, match="above 0"):
        operation(timeout=0)(wrong_call)


def test_a_scripted_model_is_no_connector() -> None:
    with pytest.raises(InvalidInputError, match="not a value of type `ScriptedModel`"):
        blocking.Platform.open(connectors=[testing.ScriptedModel("m", [])])  # type: ignore[list-item]
