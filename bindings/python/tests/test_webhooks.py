"""Webhooks: deliveries that vendors sign, and the runs that come of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from agentprovision import InvalidInputError, NotFoundError, Platform, testing
from agentprovision import sync as blocking
from support import agent, blocking_home, home, store_in

BODY = json.dumps(
    {
        "action": "opened",
        "issue": {"id": 5, "number": 7, "title": "It burns — é", "state": "open", "updated_at": "2026-01-02T03:04:05Z"},
        "repository": {"id": 1, "full_name": "octo/repo"},
    },
    indent=1,
).encode()


def headers(secret: str, body: bytes = BODY, number: int = 1) -> dict[str, str]:
    """As GitHub signs a delivery."""
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "X-GitHub-Event": "issues",
        "X-GitHub-Delivery": f"d-{number}",
        "X-Hub-Signature-256": f"sha256={signature}",
        "Content-Type": "application/json",
    }


def options(tmp_path: Path, **more: Any) -> dict[str, Any]:
    model = testing.ScriptedModel("m", [testing.text("seen")] * 4)
    sealed = {"connectors": {"sealing_key_env": "KEY"}, "secrets": {"KEY": "07" * 32}}
    return {"store": store_in(tmp_path), "models": [model], **sealed, **more}


@pytest.mark.anyio
async def test_a_delivery_starts_a_run(tmp_path: Path) -> None:
    async with Platform.open(**options(tmp_path)) as platform:
        acme = await home(platform)
        ctx = acme.admin
        made_agent = await agent(platform, ctx, model="m")
        trigger = {"agent": made_agent.id, "input": "{{ body.issue.title }}", "filter": {"prefix": "issues."}}
        made = await platform.webhooks.create(ctx, "code", "github", triggers=[trigger])
        endpoint = made.endpoint
        assert (endpoint.vendor, endpoint.state, made.secret in repr(made)) == ("github", "active", False)
        answer = await platform.webhooks.receive(endpoint.address, headers(made.secret), BODY)
        assert (answer.status, answer.text) == (200, "")
        # Once more, as pairs, and by another who does not know the secret.
        again = await platform.webhooks.receive(endpoint.address, headers(made.secret).items(), bytearray(BODY))
        assert again.status == 200
        assert (await platform.webhooks.receive(endpoint.address, headers("other"), BODY)).status == 401
        assert (await platform.webhooks.receive("hok_x", headers(made.secret), BODY)).status == 404
        with anyio.fail_after(20):
            while (page := await platform.webhooks.deliveries(ctx, endpoint)).items[0].state == "pending":
                await anyio.sleep(0)
        (delivery,) = page
        assert (delivery.state, delivery.kind, delivery.repeats) == ("done", "issues.opened", 1)
        (run,) = delivery.runs
        outcome = await (await platform.runs.get(ctx, run)).wait()
        assert outcome.text == "seen"
        whole = await platform.webhooks.delivery(ctx, delivery)
        assert base64.b64decode(whole.body) == BODY
        assert whole.headers["x-github-delivery"] == "d-1"
        await platform.webhooks.replay(ctx, delivery)
        rotated = await platform.webhooks.rotate(ctx, endpoint, overlap_s=60)
        assert rotated.secret != made.secret
        off = await platform.webhooks.update(ctx, endpoint, name="off", enabled=False)
        assert (off.name, off.state) == ("off", "disabled")
        assert [one.name async for one in platform.webhooks.iterate(ctx)] == ["off"]
        await platform.webhooks.delete(ctx, endpoint)
        with pytest.raises(NotFoundError):
            await platform.webhooks.get(ctx, endpoint)


@pytest.mark.anyio
async def test_what_is_no_delivery_is_said(tmp_path: Path) -> None:
    async with Platform.open(**options(tmp_path, webhooks={"at_once": 0})) as platform:
        acme = await home(platform)
        made = await platform.webhooks.create(acme.admin, "code", "github", secret="chosen elsewhere")
        assert made.secret == "chosen elsewhere"
        with pytest.raises(InvalidInputError, match="`body` is bytes"):
            await platform.webhooks.receive(made.endpoint.address, {}, "text")  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError):
            await platform.webhooks.receive(made.endpoint.address, {"a": 1}, b"")  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="nobody"):
            await platform.webhooks.create(acme.admin, "other", "nobody")  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="scheme"):
            await platform.webhooks.create(acme.admin, "other", "generic")


def test_the_blocking_twin(tmp_path: Path) -> None:
    with blocking.Platform.open(**options(tmp_path, webhooks={"at_once": 0})) as platform:
        ctx = blocking_home(platform).admin
        made = platform.webhooks.create(ctx, "code", "github")
        answer = platform.webhooks.receive(made.endpoint.address, headers(made.secret), BODY)
        assert answer.status == 200
        (delivery,) = platform.webhooks.deliveries(ctx, made.endpoint)
        assert (delivery.state, delivery.attempts) == ("pending", 0)
