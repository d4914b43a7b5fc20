"""Type checkers over the installed package, its tests and the examples; and that nothing generated is stale."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import agentprovision
import pytest
from support import ROOT

PACKAGE = Path(agentprovision.__file__).parent
BINDING = ROOT / "bindings" / "python"
EXAMPLES = ROOT / "examples" / "python"


def run(*command: object, **variables: str) -> None:
    environment = {**os.environ, **variables}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment, cwd=BINDING)
    assert done.returncode == 0, done.stdout + done.stderr


def mypy(tmp_path: Path, *what: object, path: Path | None = None) -> None:
    cache = ["--cache-dir", tmp_path / "cache"]
    here = os.pathsep.join(str(part) for part in [path or "", *installed()] if part)
    run(sys.executable, "-m", "mypy", "--strict", *cache, *what, MYPYPATH=here)


def installed() -> list[Path]:
    """Where the package is, unless an interpreter finds it there by itself."""
    return [] if PACKAGE.parent.name == "site-packages" else [PACKAGE.parent]


@pytest.mark.limit(120)
def test_mypy_strict_is_clean(tmp_path: Path) -> None:
    mypy(tmp_path, "--python-version", "3.10", "--package", "agentprovision")
    mypy(tmp_path, BINDING / "tests", path=BINDING / "tests")
    mypy(tmp_path, *sorted(EXAMPLES.glob("*.py")), path=EXAMPLES)


@pytest.mark.limit(120)
def test_pyright_is_clean() -> None:
    pyright = shutil.which("pyright", path=str(Path(sys.executable).parent))
    assert pyright is not None
    # Beside the interpreter that runs it, so that nothing is written into a home.
    cache = Path(sys.executable).parent.parent / "pyright"
    paths = [PACKAGE, *sorted(EXAMPLES.glob("*.py"))]
    run(
        pyright,
        "--pythonpath",
        sys.executable,
        *paths,
        PYRIGHT_PYTHON_CACHE_DIR=str(cache),
        PYRIGHT_PYTHON_IGNORE_WARNINGS="1",
    )


@pytest.mark.limit(120)
def test_the_stub_of_the_native_module_is_what_it_has(tmp_path: Path) -> None:
    run(sys.executable, "-m", "mypy.stubtest", "agentprovision._native", MYPYPATH=os.pathsep.join(map(str, installed())))


@pytest.mark.parametrize("script", ["types_from_schema.py", "sync_from_async.py"])
def test_nothing_generated_is_stale(script: str) -> None:
    run(sys.executable, BINDING / "scripts" / script, "--check")


def test_everything_that_is_offered_is_there() -> None:
    import agentprovision.sync
    from agentprovision import authz, identity, tenant

    for module in (agentprovision, agentprovision.sync, agentprovision.testing, agentprovision.error, authz, identity, tenant):
        assert len(set(module.__all__)) == len(module.__all__)
        for name in module.__all__:
            assert getattr(module, name).__doc__ or name in ("RunEvent", "ChatEvent", "ModelEvent"), name
    assert (PACKAGE / "py.typed").exists()
    for code in agentprovision.error.KINDS.values():
        assert code.__name__ in agentprovision.__all__
