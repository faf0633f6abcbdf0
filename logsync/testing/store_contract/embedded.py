"""For stores without a server, such as a file: the process that has it open is what can die."""

from __future__ import annotations

import gc
import multiprocessing
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, cast

from logsync.core.store import Store
from logsync.errors import StoreOutcomeUnknown

_METHODS = frozenset(name for name, found in vars(Store).items() if callable(found) and not name.startswith("_"))


class OwnProcess:
    """A store that lives in a child process, forked when it is first called; every call is handed through.

    After ``kill`` the first call says that its outcome is unknown, and the next one meets a new process, where the
    store is not open. Needs POSIX.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._child: BaseProcess | None = None
        self._pipe: Connection | None = None

    def as_store(self) -> Store:
        """This object: for type checkers, which cannot see what is handed through."""
        return cast(Store, self)

    def kill(self) -> None:
        """kill -9. Returns when the process is gone; no-op where there is none."""
        if self._child is not None:
            self._child.kill()
            self._child.join()

    def close(self) -> None:
        child, pipe = self._child, self._pipe
        self._child = self._pipe = None
        if child is None or pipe is None:
            return
        with suppress(OSError):
            pipe.send(None)
        child.join()
        pipe.close()

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            return getattr(self._store, name)

        def call(*args: Any, **options: Any) -> Any:
            pipe = self._pipe or self._fork()
            try:
                pipe.send((name, args, options))
                answer, error = pipe.recv()
            except (EOFError, OSError):
                self.close()
                raise StoreOutcomeUnknown(f"{name}: the process of the store is gone") from None
            if error is not None:
                raise error
            return answer

        return call

    def _fork(self) -> Connection:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_serve, args=(self._store, theirs), daemon=True)
        # The child must never collect what is garbage here: a client whose threads did not come along ends it (seen).
        collects = gc.isenabled()
        gc.disable()
        try:
            self._child.start()
        finally:
            if collects:
                gc.enable()
        theirs.close()
        return self._pipe


def _serve(store: Store, pipe: Connection) -> None:
    """What the child does: carry out one call after the other."""
    gc.freeze()
    gc.enable()
    while (call := pipe.recv()) is not None:
        name, args, options = call
        try:
            pipe.send((getattr(store, name)(*args, **options), None))
        except Exception as error:  # noqa: BLE001 - it is the caller's: the kit judges it
            pipe.send((None, error))
    store.close()
