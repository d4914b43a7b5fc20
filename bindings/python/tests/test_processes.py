"""Processes: crashes, forks, servers that fork, signals, and ends without a close."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest
from support import environment, store_in

PROGRAMS = Path(__file__).parent / "programs"
TOOLS = ["look", "keep", "write", "pay"]


def python(*arguments: object, **more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{"env": environment(), **pipes, **more})  # type: ignore[call-overload,no-any-return]


def program(text: str, *arguments: object) -> tuple[int, str, str]:
    """Runs a program to its end."""
    process = python("-c", textwrap.dedent(text), *arguments)
    out, err = process.communicate(timeout=25)
    return process.returncode, out, err


KEPT = "CREATE TABLE public.kept (tenant_id uuid NOT NULL, id text NOT NULL); GRANT ALL ON public.kept TO agentprovision_app"


@pytest.mark.parametrize("fatal", TOOLS)
def test_a_run_survives_its_process(tmp_path: Path, fatal: str) -> None:
    effects = tmp_path / "effects.txt"
    first = python(PROGRAMS / "victim.py", store_in(tmp_path, KEPT), effects, fatal)
    out, err = first.communicate(timeout=25)
    assert first.returncode == -signal.SIGKILL, err
    run, user = out.split()

    second = python(PROGRAMS / "victim.py", store_in(tmp_path, KEPT), effects, "nothing", run, user)
    out, err = second.communicate(timeout=25)
    assert second.returncode == 0, err
    steps = [line.split()[1:] for line in out.splitlines() if line.startswith("step")]
    assert [name for name, _ in steps] == ["m", "look", "m", "keep", "m", "write", "m", "pay", "m"]
    doubted = [name for name, result in steps if result != "ok"]
    assert doubted == (["pay"] if fatal == "pay" else []), steps
    assert ("uncertain" in out) == (fatal == "pay")
    done = Counter(line.split()[0] for line in effects.read_text().splitlines())
    assert done == {name: 2 if name == fatal and name != "pay" else 1 for name in TOOLS}
    assert len(set(effects.read_text().splitlines())) == len(TOOLS), "an attempt had another key"
    text = next(line for line in out.splitlines() if line.startswith("text"))
    assert text.split()[3] == "1", "the transaction of the first attempt was not rolled back"


def test_a_forked_child_is_told_to_open_its_own() -> None:
    code, out, err = program(
        """
        import asyncio, gc, os
        from agentprovision import ClosedError
        from agentprovision import sync

        platform = sync.Platform.open()
        operator = platform.operator("ops", reason="x")
        tenant = platform.tenants.create(operator, "acme")
        root = platform.tenants.bootstrap_admin(operator, tenant, "root@acme.example")
        ctx = platform.context(tenant, root)
        child = os.fork()
        if child == 0:
            for call in [
                lambda: platform.tenants.get(operator, tenant),
                lambda: ctx.can("agents:run"),
                lambda: platform.operator("ops", reason="x"),
                lambda: platform.context(tenant, root),
                platform.close,
            ]:
                try:
                    call()
                except ClosedError as error:
                    assert "open one after the fork" in str(error), error
                else:
                    raise AssertionError("it went through")
            with sync.Platform.open() as mine:
                mine.tenants.create(mine.operator("ops", reason="x"), "child")
            del platform, ctx, operator
            gc.collect()
            print("child")
            raise SystemExit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert platform.tenants.get(operator, tenant).name == "acme"
        platform.close()
        print("parent")
        """
    )
    assert (code, out.split(), err) == (0, ["child", "parent"], "")


def test_a_server_that_forks(tmp_path: Path) -> None:
    """gunicorn with two workers; each opens the platform after the fork, over one store."""
    app = tmp_path / "wsgi_app.py"
    app.write_text(
        textwrap.dedent(
            f"""
            import os, threading
            from agentprovision import testing
            from agentprovision.sync import Platform

            platform = None
            lock = threading.Lock()

            def app(environ, start_response):
                global platform
                with lock:
                    if platform is None:
                        platform = Platform.open("{store_in(tmp_path)}")
                operator = platform.operator("ops", reason="x")
                if environ["PATH_INFO"] == "/new":
                    platform.tenants.create(operator, f"tenant of {{os.getpid()}}")
                body = f"{{os.getpid()}} {{len(platform.tenants.list(operator, limit=100))}}".encode()
                start_response("200 OK", [("content-length", str(len(body)))])
                return [body]
            """
        )
    )
    gunicorn = Path(sys.executable).parent / "gunicorn"
    command = [str(gunicorn), "--workers", "2", "--bind", "127.0.0.1:0", "--preload", "wsgi_app:app"]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    log = ""
    while not (found := re.search(r"Listening at: http://127.0.0.1:(\d+)", log)):
        line = server.stderr.readline()
        assert line, log
        log += line
    port, created = int(found[1]), 0
    workers: set[str] = set()
    while len(workers) < 2 or created < 5:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/new")
        created += 1
        pid, seen = connection.getresponse().read().decode().split()
        workers.add(pid)
        assert int(seen) == created
        connection.close()
    server.send_signal(signal.SIGTERM)
    _, rest = server.communicate(timeout=20)
    assert server.returncode == 0, log + rest
    assert "Traceback" not in log + rest and "WORKER TIMEOUT" not in rest, log + rest


END_WITHOUT_CLOSE = """
    import asyncio, sys
    from agentprovision import Platform, testing, tool
    how = sys.argv[1]

    @tool(effect="pure")
    def blocks():
        import time
        print("blocked", flush=True)
        time.sleep(600)

    @tool(effect="pure")
    async def waits():
        print("blocked", flush=True)
        await asyncio.Event().wait()

    async def main():
        platform = await Platform.open(tools=[blocks, waits], models=[model])
        operator = platform.operator("ops", reason="x")
        tenant = await platform.tenants.create(operator, "acme")
        root = await platform.tenants.bootstrap_admin(operator, tenant, "root@acme.example")
        ctx = await platform.context(tenant, root)
        agent = await platform.agents.create(ctx, name="desk", model="m", tools=[blocks, waits])
        await platform.agents.deploy(ctx, agent)
        run = await platform.runs.start(ctx, agent, "go")
        async for event in run.events():
            if event.event == "step_started" and event.kind == "tool":
                break
        if how == "raise":
            raise RuntimeError("the end")
        if how == "exit":
            sys.exit(3)
        global kept
        kept = platform, run

    name = sys.argv[2]
    model = testing.ScriptedModel("m", [testing.tools((name, {}))])
    asyncio.run(main())
"""


@pytest.mark.parametrize("tool", ["blocks", "waits"])
@pytest.mark.parametrize(("how", "code"), [("return", 0), ("raise", 1), ("exit", 3)])
def test_a_process_may_end_with_work_in_flight(tool: str, how: str, code: int) -> None:
    before = time.monotonic()
    ended, out, err = program(END_WITHOUT_CLOSE, how, tool)
    assert ended == code, err
    assert "panicked" not in err and "Fatal" not in err, err
    assert time.monotonic() - before < 15


def test_ctrl_c_interrupts_a_blocking_call() -> None:
    process = python(
        "-c",
        textwrap.dedent(
            """
            import signal
            import time
            from agentprovision import testing
            from agentprovision.sync import Platform
            # A shell starts what goes on in the background without it.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            model = testing.ScriptedModel("m", [testing.stall("thinking")])
            platform = Platform.open(models=[model])
            operator = platform.operator("ops", reason="x")
            tenant = platform.tenants.create(operator, "acme")
            root = platform.tenants.bootstrap_admin(operator, tenant, "root@acme.example")
            ctx = platform.context(tenant, root)
            agent = platform.agents.create(ctx, name="desk", model="m")
            platform.agents.deploy(ctx, agent)
            run = platform.runs.start(ctx, agent, "go")
            try:
                print("waiting", flush=True)
                run.wait()
            except KeyboardInterrupt:
                print("interrupted", time.monotonic(), flush=True)
            assert run.record().status == "running"
            run.cancel()
            assert run.wait().status == "cancelled"
            platform.close()
            """
        ),
    )
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    word, at = process.stdout.readline().split()
    assert word == "interrupted" and float(at) - sent < 2
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err


def test_a_platform_that_nobody_closed_is_collected() -> None:
    code, out, err = program(
        """
        import asyncio, gc, threading, warnings
        from agentprovision import Platform, tool

        async def main():
            platform = None

            @tool
            async def knows_its_platform() -> None:
                print(platform)

            platform = await Platform.open(tools=[knows_its_platform])
            operator = platform.operator("ops", reason="x")
            await platform.tenants.create(operator, "acme")
            return operator

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            operator = asyncio.run(main())
            gc.collect()
        assert [warning.category for warning in caught] == [ResourceWarning], caught
        assert "unclosed <Platform" in str(caught[0].message)
        import os, time
        end = time.monotonic() + 10
        while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < end:
            time.sleep(0.001)
        print(len(os.listdir("/proc/self/task")))
        """
    )
    assert (code, out.strip()) == (0, "1"), err


def test_no_thread_is_left_after_a_close(tmp_path: Path) -> None:
    code, out, err = program(
        f"""
        import asyncio, os, time
        from agentprovision import Platform
        from agentprovision import sync

        async def once():
            async with Platform.open("{store_in(tmp_path)}"):
                pass

        def threads():
            return len(os.listdir("/proc/self/task"))

        for _ in range(20):
            asyncio.run(once())
            sync.Platform.open().close()
            for bad in ["mysql://x", "sqlite:///dev/null/x"]:
                try:
                    sync.Platform.open(bad)
                except Exception:
                    pass
                else:
                    raise AssertionError("it was opened")
        end = time.monotonic() + 10
        while threads() > 1 and time.monotonic() < end:
            time.sleep(0.001)
        print(threads(), len(os.listdir("/proc/self/fd")) < 10)
        """
    )
    assert (code, out.split()) == (0, ["1", "True"]), err
