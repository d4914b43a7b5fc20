"""Connectors from Python: an issue at GitHub becomes one in Jira, with a note back and a message in Slack.

    python examples/python/connectors.py EMULATOR

`EMULATOR` is the program that emulates the three services, on which requests fail and are tried again:
`cargo build -p agentprovision-connectors --features emulator --example emulator` puts it into `target/debug/examples`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

from agentprovision import Context, Platform


async def task(platform: Platform, ctx: Context, at: dict[str, Any]) -> str:
    """Copies the issue to Jira and says so in both places; the key of the new issue."""
    owner, repo = at["github"]["repository"].split("/")
    issue = {"owner": owner, "repo": repo, "issue_number": at["github"]["issue"]}
    made = {}
    for name, credentials in [
        ("github", {"token": at["github"]["token"]}),
        ("jira", {"username": at["jira"]["username"], "password": at["jira"]["password"]}),
        ("slack", {"token": at["slack"]["token"]}),
    ]:
        settings = {"base_url": at[name]["url"]}
        made[name] = await platform.integrations.create(ctx, name, name, settings=settings, credentials=credentials)
        tested = await platform.integrations.test(ctx, made[name])
        assert tested.healthy, tested.error
    invoke = platform.integrations.invoke
    found = await invoke(ctx, made["github"], "issues.get", issue)
    fields = {"project": {"key": at["jira"]["project"]}, "issuetype": {"name": "Bug"}, "summary": found["title"]}
    # A key of one's own: whoever asks again with it gets the same answer, and no second issue.
    once = f"issue-{found['id']}"
    await invoke(ctx, made["jira"], "issues.create", {"fields": fields}, idempotency_key=once)
    copy = await invoke(ctx, made["jira"], "issues.create", {"fields": fields}, idempotency_key=once)
    await invoke(ctx, made["github"], "comments.create", {**issue, "body": f"See {copy['key']}."})
    text = f"{found['title']}: {copy['key']}"
    await invoke(ctx, made["slack"], "chat.post_message", {"channel": at["slack"]["channel"], "text": text})
    key: str = copy["key"]
    return key


async def main(program: str) -> None:
    with subprocess.Popen([program, "--faults"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as emulator:
        assert emulator.stdin and emulator.stdout
        at = json.loads(emulator.stdout.readline())
        loopback = {"name": "loopback", "ranges": ["127.0.0.0/8"], "plain_http": True, "any_port": True}
        connectors = {"enabled": ["github", "jira", "slack"], "networks": [loopback]}
        async with Platform.open(connectors=connectors) as platform:
            operator = platform.operator("ops@host.example", reason="example")
            tenant = await platform.tenants.create(operator, "acme", domain="acme.example")
            root = await platform.tenants.bootstrap_admin(operator, tenant, "root@acme.example")
            key = await task(platform, await platform.context(tenant, root), at)
        emulator.stdin.write("\n")
        emulator.stdin.flush()
        became = json.loads(emulator.stdout.readline())
        emulator.stdin.close()
    assert [issue["key"] for issue in became["issues"]] == [key]
    assert [comment["body"] for comment in became["comments"]] == [f"See {key}."]
    assert [message["text"] for message in became["messages"]] == [f"The checkout burns: {key}"]
    print(f"made {key}, one comment and one message, by {became['requests']} requests of which some failed")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
