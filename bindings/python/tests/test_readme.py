"""The Python program of the README runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_the_program_of_the_readme_runs(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    program = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert program is not None
    (tmp_path / "program.py").write_text(program[1])
    ran = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "It is on its way." in ran.stdout and "[tool find_order]" in ran.stdout
    assert re.search(r"audit root [0-9a-f]{64}\n$", ran.stdout)
    assert not ran.stderr
