"""The contract that every store keeps, as claims that pytest runs: for people who write a store.

    class TestMyStore(StoreContract):
        puts, adds, deletes = Upsert, Increment, Delete
        creates = ("my_positions", "my_items")

        def make_store(self, sink):
            return MyStore(table=sink)

        def writes(self, sink):
            return {
                Upsert: lambda key, n: Upsert(sink, {"k": key}, {"n": n}),
                Increment: lambda key, n: Increment(sink, {"k": key}, {"n": n}),
                Delete: lambda key, n: Delete(sink, {"k": key}),
            }

        def content(self, sink):
            return Content.of(tables={sink: my_rows(sink)})

        def refused(self, sink):
            return Upsert(sink, {"k": "x"}, {"n": "no number"})

These are needed, and nothing else. ``content`` reads without the store's code:
otherwise a store that misreads what it wrote agrees with itself. Every claim has sinks of its own, ``self.sink`` and
``self.other``; they share the server.

Durability and bounds in time cannot be seen on a server that is well. For them the kit needs hooks: ``kill``,
``pause`` and ``restart``. Without them these claims are shown as NOT PROVEN, and a list of them ends the run; they
never count as passed. Once the hooks are there, ``must_prove = True`` keeps them there.

What a write means is stated by its class, as a law from what stands at its target to what stands there after it. The
kit fails for a class that the store accepts and that has no law, or no sample. ``Meant`` is for writes whose class
cannot know, such as a statement of SQL. A store without a server, such as a file, can die only with its process:
``OwnProcess`` gives it one.

This package needs pytest, which logsync does not install.
"""

import pytest

for _part in ("applying", "books", "durability", "given", "laws", "parking", "viewing"):
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from logsync.testing.store_contract.contract import StoreContract  # noqa: E402 - its asserts are rewritten
from logsync.testing.store_contract.embedded import OwnProcess  # noqa: E402
from logsync.testing.store_contract.given import Limits, Meant, Sample  # noqa: E402
from logsync.testing.store_contract.making import first_book  # noqa: E402
from logsync.writes.content import Content  # noqa: E402

__all__ = ["Content", "Limits", "Meant", "OwnProcess", "Sample", "StoreContract", "first_book"]
