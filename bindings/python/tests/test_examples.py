"""The examples, run as a user runs them: by their own processes and over real HTTP."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agentprovision import sync as blocking
from support import ROOT, environment, store_in

EXAMPLES = ROOT / "examples" / "python"
PEPPER = "0123456789abcdef"


def example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=25)


def test_the_quickstarts_report_agrees_with_what_another_process_finds(tmp_path: Path) -> None:
    title = 'Ünïcödé \u202etitle\u202c "quoted" \\ #9'
    issue = {"number": 8, "title": title, "body": None, "state": "open", "comments": 0}
    file = tmp_path / "issue.json"
    file.write_text(json.dumps({"action": "opened", "issue": issue}))
    done = example("quickstart.py", "--store", store_in(tmp_path), "--issue", str(file), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert title in report["run"]["output"] and report["run"]["status"] == "completed"
    assert report["refused"] == {"cross_tenant": "not_found", "missing_permission": "permission_denied"}
    with blocking.Platform.open(store_in(tmp_path)) as platform:
        operator = platform.operator("ops@host.example", reason="check")
        tenant = platform.tenants.get(operator, report["tenants"][0]["id"])
        # The log of the platform names who was made its first admin.
        log = platform.audit.platform_entries(operator, limit=500)
        texts = json.dumps([[entry.record.details, entry.record.resource_id] for entry in log if entry.record])
        admin = next(
            ctx for user in re.findall(r"usr_\w+", texts) if (ctx := member(platform, tenant.id, user)) is not None
        )
        record = platform.runs.record(admin, report["run"]["id"])
        assert str(record.cost_usd) == report["run"]["cost_usd"] == report["usage"]["cost_usd"]
        chain = json.loads(platform.runs.chain(admin, record).to_json())
        assert chain["steps"] == report["run"]["steps"]
        head = platform.audit.verify(admin)
        assert head.size >= report["audit"]["size"]
        assert len(platform.events.read(admin, limit=500)) == report["events"]


def member(platform: blocking.Platform, tenant: str, user: str) -> Any:
    try:
        return platform.context(tenant, user)
    except LookupError:
        return None


def test_the_quickstart_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    for text, named in [("", "not JSON"), ("{}", "webhook"), ('{"issue": {"number": "x"}}', "webhook"), ("[]", "webhook")]:
        bad.write_text(text)
        done = example("quickstart.py", "--issue", str(bad))
        assert done.returncode != 0 and named in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert example("quickstart.py", "--nothing").returncode != 0
    done = example("quickstart.py", "--store", "sqlite:///dev/null/x.db")
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr
    assert example("quickstart.py", "--issue", str(tmp_path / "none")).returncode != 0


def test_one_tool_of_each_kind() -> None:
    done = example("custom_tool.py")
    assert done.returncode == 0, done.stderr
    for line in ["[tool price]", "[tool reserve]", "[tool book]", "[refund waits for approval]", "[approved]", "9 steps"]:
        assert line in done.stdout, done.stdout


@pytest.mark.skipif("AGENTPROVISION_TEST_EMULATOR" not in os.environ, reason="`cargo xtask test python` builds the emulator")
def test_three_connectors_on_services_that_fail() -> None:
    done = example("connectors.py", os.environ["AGENTPROVISION_TEST_EMULATOR"])
    assert done.returncode == 0, done.stderr
    assert re.search(r"made OPS-1, one comment and one message, by \d+ requests", done.stdout), done.stdout


@dataclass
class Service:
    """The FastAPI app, as a process."""

    process: subprocess.Popen[str]
    port: int
    key: str
    log: Path

    def request(
        self, method: str, path: str, body: Any = None, key: str | None = None, after: str | None = None
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"authorization": f"Bearer {key or self.key}", "content-type": "application/json"}
        if after is not None:
            headers["last-event-id"] = after
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        return connection.getresponse()

    def end(self) -> str:
        """Asks it to end; gives its log."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=25)
        return self.log.read_text()


@contextmanager
def service(folder: Path, patience: int = 1, **more: str) -> Iterator[Service]:
    variables = {**environment(), "PORT": "0", "PATIENCE": str(patience), "PEPPER": PEPPER, **more}
    command = [sys.executable, "-u", str(EXAMPLES / "fastapi_app.py")]
    log = folder / "service.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=file, text=True)
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert first.startswith("key "), log.read_text()
        # It says so right after; there is nothing else to wait for.
        while not (found := re.search(r"running on http://127\.0\.0\.1:(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        yield Service(process, int(found[1]), first.split()[1], log)
    finally:
        process.kill()
        process.wait(timeout=10)


def events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The events of a stream, as they come."""
    while line := response.readline().decode():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def place(event: dict[str, Any]) -> tuple[int, int]:
    row, part = event["cursor"].split(".")
    return int(row), int(part)


def test_a_service_streams_a_run(tmp_path: Path) -> None:
    with service(tmp_path) as app:
        response = app.request("POST", "/runs", {"input": "Order 1234 never arrived"})
        assert response.status == 200 and response.headers["content-type"].startswith("text/event-stream")
        found = list(events(response))
        assert [event["event"] for event in found][0] == "started" and found[-1]["event"] == "finished"
        text = "".join(event["text"] for event in found if event["event"] == "text")
        assert text.strip() == "Your order left the warehouse on Monday. Thank you for your patience."
        run = response.headers["x-run"]
        record = json.loads(app.request("GET", f"/runs/{run}").read())
        assert (record["id"], record["status"]) == (run, "completed")
        refused = [
            (app.request("GET", f"/runs/{run}", key="apk_nothing"), 401, "unauthenticated"),
            (app.request("GET", f"/runs/{run[:-12]}{'0' * 12}"), 404, "not_found"),
            (app.request("GET", "/runs/nonsense"), 400, "invalid_input"),
        ]
        for answer, status, code in refused:
            assert (answer.status, json.loads(answer.read())["error"]["code"]) == (status, code)
        log = app.end()
        assert "Traceback" not in log and app.process.returncode in (0, -signal.SIGTERM), log


@pytest.mark.parametrize(("on_disconnect", "status"), [("cancel", "cancelled"), ("continue", "completed")])
def test_a_client_that_goes_away(tmp_path: Path, on_disconnect: str, status: str) -> None:
    # Long enough that it cannot be over before the client has gone.
    with service(tmp_path, patience=40 if on_disconnect == "continue" else 20_000) as app:
        response = app.request("POST", f"/runs?on_disconnect={on_disconnect}", {"input": "Order 1234"})
        run = response.headers["x-run"]
        text = next(event for event in events(response) if event["event"] == "text")
        response.close()
        if on_disconnect == "cancel":
            # A second watcher would keep it alive if it came in time; so the record is asked.
            while json.loads(app.request("GET", f"/runs/{run}").read())["finished_at"] is None:
                time.sleep(0.01)
        rest = list(events(app.request("GET", f"/runs/{run}/events", after=text["cursor"])))
        assert rest[-1]["event"] == "finished" and rest[-1]["status"] == status
        assert all(place(event) > place(text) for event in rest), "what was seen came again"
        log = app.end()
        assert "Traceback" not in log and app.process.returncode in (0, -signal.SIGTERM), log


def test_a_service_shuts_down_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    with service(tmp_path, patience=20_000, AGENTPROVISION_STORE=store_in(tmp_path)) as app:
        response = app.request("POST", "/runs?on_disconnect=cancel", {"input": "Order 1234"})
        run = response.headers["x-run"]
        next(event for event in events(response) if event["event"] == "text")
        log = app.end()
        assert app.process.returncode in (0, -signal.SIGTERM) and "panicked" not in log, log
    with blocking.Platform.open(store_in(tmp_path), pepper_env="PEPPER", secrets={"PEPPER": PEPPER}) as platform:
        # Its stream ended with the server, and that it is to end was kept.
        assert platform.runs.get(platform.authenticate(app.key), run).wait().status == "cancelled"
