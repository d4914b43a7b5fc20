"""Writes the blocking twin `agentprovision/sync/` from the async modules.

    python scripts/sync_from_async.py [--check]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "python" / "agentprovision"
# The blocking call of a tool stands beside the async one: the host side hands out both.
BESIDE = {"_call": "_blocking"}
MODULES = ["_service", "agent", "audit", "connectors", "event", "models", "platform", "run", "tenancy", "usage", "webhooks"]
WORDS = [
    (r"\basync (def|with|for)\b", r"\1"),
    (r"`await` it, or use", "use"),
    (r"\bawait ", ""),
    (r"\b__aiter__\b", "__iter__"),
    (r"\b__anext__\b", "__next__"),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAwaitable\[((?:[^\[\]]|\[[^\]]*\])*)\]", r"\1"),
    (r"\baclose\b", "close"),
    (r"\bsettle\b", "block"),
    (r"\bBridge\(running_loop\(\)\)", "Bridge(None)"),
    (r"\bimport Bridge, running_loop\b", "import Bridge"),
    (r"-> Opening\b", "-> Platform"),
    (r"\breturn Opening\(", "return _open("),
]
# What has no twin.
ONLY = re.compile(r"\n\n# async only\n.*?\n# end\n", re.S)
RELATIVE = re.compile(r"^( *from )\.(\w*)( import )", re.M)
COLLECTIONS = re.compile(r"^from collections\.abc import (.*)\n", re.M)


def twin(name: str, text: str) -> str:
    """A module without its async words."""
    text = ONLY.sub("\n", text)
    for word, other in WORDS:
        text = re.sub(word, other, text)
    if name in MODULES:
        text = RELATIVE.sub(lambda m: f"{m[1]}{'.' if m[2] in MODULES else '..'}{BESIDE.get(m[2], m[2])}{m[3]}", text)
    text = COLLECTIONS.sub(lambda m: _used(m[1], text), text)
    note = f"Generated from `agentprovision.{name}` by `scripts/sync_from_async.py`; do not edit."
    head, rest = text.split('"""\n', 1)
    return f'{head}\n\n{note}\n"""\n{rest}'


def _used(names: str, text: str) -> str:
    rest = COLLECTIONS.sub("", text)
    kept = sorted({name for name in names.split(", ") if re.search(rf"\b{name}\b", rest)})
    return f"from collections.abc import {', '.join(kept)}\n" if kept else ""


def main() -> int:
    files = {PACKAGE / "sync" / f"{name}.py": twin(name, (PACKAGE / f"{name}.py").read_text()) for name in MODULES}
    for name, beside in BESIDE.items():
        files[PACKAGE / f"{beside}.py"] = twin(name, (PACKAGE / f"{name}.py").read_text())
    if "--check" in sys.argv:
        stale = [path.name for path, text in files.items() if not path.exists() or path.read_text() != text]
        if stale:
            print(f"out of date: {', '.join(stale)}; run scripts/sync_from_async.py")
        return bool(stale)
    for path, text in files.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
