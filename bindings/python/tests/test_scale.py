"""Many runs in one process: what it holds does not grow with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import environment, store_in

RUNS = int(os.environ.get("AGENTPROVISION_RUNS", "10000"))


@pytest.mark.limit(900)
def test_ten_thousand_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1,000 at a time. The store's page caches are bounded and fill within the first 4,000 runs or so."""
    program = Path(__file__).parent / "programs" / "many.py"
    command = [sys.executable, str(program), store_in(tmp_path), str(RUNS)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=850)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    first, middle, last = found[0], found[len(found) // 2], found[-1]
    per_run = [
        (last["resident_kib"] - since["resident_kib"]) / max(1, (len(found) - 1 - at) * RUNS / len(found))
        for at, since in [(0, first), (len(found) // 2, middle)]
    ]
    with capsys.disabled():
        print(f"\n{RUNS} runs: threads {first['threads']} → {last['threads']}, handles {first['handles']} → ", end="")
        print(f"{last['handles']}, resident {first['resident_kib']} → {last['resident_kib']} KiB, ", end="")
        print(f"per run {per_run[0]:.2f} KiB since the first tenth, {per_run[1]:.2f} KiB in the second half")
    assert last["threads"] <= first["threads"] and last["handles"] <= first["handles"]
    assert last["objects"] - first["objects"] < 1000
    if RUNS >= 10_000:
        assert per_run[0] <= 2 and per_run[1] <= 2
        assert last["resident_kib"] - first["resident_kib"] < 64 * 1024
