"""Durable steps by others, for `cargo xtask bench peers-durable`.

    python steps.py langgraph|langgraph_saver|dbos URL

Says its versions on the first line. Then, for each line `RUNS STEPS` of standard input, does so many runs at the same
time with so many steps one after the other, each with a result of 500 bytes that is stored before the next step begins,
and says how many seconds that took.
"""

import os
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

# No tracing by a service, and no log: they are not what is compared.
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["LANGCHAIN_TRACING_V2"] = "false"

THREADS = 16


def result(step):
    return f"{step:08d}" + "x" * 492


def sqlite_file(url):
    return url.removeprefix("sqlite://")


def savers(url):
    """The checkpointer of a thread, by its number.

    One of PostgreSQL holds a lock around its connection, so each thread has its own; the connection is as the package
    asks for. A file has one writer anyway, and the package shares one connection to it.
    """
    if url.startswith("sqlite"):
        import sqlite3

        from langgraph.checkpoint.sqlite import SqliteSaver

        conn = sqlite3.connect(sqlite_file(url), check_same_thread=False)
        saver = SqliteSaver(conn)
        saver.setup()
        # The package switches the write-ahead log on; this is SQLite's default, and what it takes to be durable.
        conn.execute("PRAGMA synchronous=FULL")
        return [saver] * THREADS

    import psycopg
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg.rows import dict_row

    all = [
        PostgresSaver(psycopg.connect(url, autocommit=True, prepare_threshold=0, row_factory=dict_row))
        for _ in range(THREADS)
    ]
    all[0].setup()
    return all


def langgraph(url):
    """A graph whose one node is a step, with `durability="sync"`: a checkpoint is stored before the next step."""
    from typing import TypedDict

    from langgraph.graph import END, START, StateGraph

    class State(TypedDict):
        left: int
        result: str

    def step(state):
        return {"left": state["left"] - 1, "result": result(state["left"])}

    builder = StateGraph(State)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", lambda state: "step" if state["left"] else END)
    graphs = [builder.compile(checkpointer=saver) for saver in savers(url)]

    def run(thread, steps):
        config = {"configurable": {"thread_id": str(uuid.uuid4())}, "recursion_limit": steps + 10}
        last = graphs[thread].invoke({"left": steps, "result": ""}, config, durability="sync")
        assert last["left"] == 0 and len(last["result"]) == 500

    return run


def langgraph_saver(url):
    """The checkpointer alone, without a graph: one checkpoint for each step."""
    from langgraph.checkpoint.base import empty_checkpoint

    all = savers(url)

    def run(thread, steps):
        saver = all[thread]
        config = {"configurable": {"thread_id": str(uuid.uuid4()), "checkpoint_ns": ""}}
        for step in range(steps):
            number = f"{step:032d}.0"
            checkpoint = empty_checkpoint()
            checkpoint["channel_values"] = {"result": result(step)}
            checkpoint["channel_versions"] = {"result": number}
            metadata = {"source": "loop", "step": step, "parents": {}}
            config = saver.put(config, checkpoint, metadata, {"result": number})

    return run


def dbos(url):
    """A workflow of steps."""
    from dbos import DBOS

    url = f"sqlite:///{sqlite_file(url)}" if url.startswith("sqlite") else url.replace("postgres://", "postgresql://")
    config = {
        "name": "steps",
        "system_database_url": url,
        "sys_db_pool_size": THREADS + 4,
        "log_level": "ERROR",
        "application_version": "1",
    }
    DBOS(config=config)

    @DBOS.step()
    def step(number):
        return result(number)

    @DBOS.workflow()
    def workflow(steps):
        for number in range(steps):
            assert len(step(number)) == 500

    DBOS.launch()
    return lambda _thread, steps: workflow(steps)


PEERS = {
    "langgraph": (langgraph, ["langgraph", "langgraph-checkpoint"]),
    "langgraph_saver": (langgraph_saver, ["langgraph-checkpoint"]),
    "dbos": (dbos, ["dbos"]),
}


def main():
    name, url = sys.argv[1:]
    make, packages = PEERS[name]
    if name != "dbos":
        packages = packages + [f"langgraph-checkpoint-{'sqlite' if url.startswith('sqlite') else 'postgres'}"]
    run = make(url)
    threads = ThreadPoolExecutor(THREADS)
    print(", ".join(f"{package} {version(package)}" for package in packages), flush=True)
    for line in sys.stdin:
        runs, steps = (int(number) for number in line.split())
        assert runs <= THREADS
        begun = time.perf_counter()
        if runs == 1:
            run(0, steps)
        else:
            for ended in [threads.submit(run, thread, steps) for thread in range(runs)]:
                ended.result()
        print(time.perf_counter() - begun, flush=True)
    # What runs in the background need not end in order.
    sys.stdout.flush()
    os._exit(0)


main()
