"""Threads for the sync functions of one platform."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

_IDLE = 5.0

Work = Callable[[], object]


class Threads:
    """Threads, made when there is work and gone when there is none for a while; at most `limit`, where there is one.

    They are daemons: a function that never returns must not keep the process from ending.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        self._load = 0
        self._closed = False

    def submit(self, work: Work) -> bool:
        """Has a thread do something that raises nothing; false once closed."""
        with self._lock:
            if self._closed:
                return False
            self._load += 1
            if self._load > self._count and (self._limit is None or self._count < self._limit):
                self._count += 1
                threading.Thread(target=self._serve, name="agentprovision-host", daemon=True).start()
        self._work.put(work)
        return True

    def close(self) -> None:
        """Lets the threads end after what they do."""
        with self._lock:
            self._closed = True
            count = self._count
        for _ in range(count):
            self._work.put(None)

    def _serve(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    # Only one that no work is meant for may go.
                    if self._load < self._count:
                        self._count -= 1
                        return
                continue
            if work is None:
                return
            try:
                work()
            except BaseException:
                with self._lock:
                    self._count -= 1
                raise
            finally:
                del work
                with self._lock:
                    self._load -= 1
