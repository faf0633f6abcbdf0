"""The kit notices what is wrong with a store: one fault at a time, planted in the memory store.

A claim that no fault makes fail is worth nothing, so each fault names the claim that must fail for it. The same claims
pass for the store without the fault, in test_contract_memory.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from examples.store_sqlite import Sqlite
from logsync.core.book import Book
from logsync.core.write import Target, Write
from logsync.stores.memory import Memory
from logsync.testing.store_contract import Sample, durability
from tests.contract import faults, faults_kept, faults_of_machines, faults_seen, test_contract_memory
from tests.contract.machine import Machine
from tests.contract.test_contract_memory import MemoryGiven

ROOT = Path(__file__).parents[2]
ON_MACHINES = [each for each in vars(faults_of_machines).values() if getattr(each, "noticed_by", "")]
IN_MEMORY = [
    each
    for module in (faults, faults_kept, faults_seen)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, faults.Fault) and each.noticed_by
]


def notices(kit: MemoryGiven, claim: str) -> None:
    """Fails unless the claim does. ``claim`` may have an argument behind a blank."""
    name, _, argument = claim.partition(" ")
    kit.setup_method()
    try:
        getattr(kit, name)(*([int(argument)] if argument else []))
    except pytest.xfail.Exception:
        raise AssertionError(f"{claim} was not looked into") from None
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - whatever a fault leads to
        return
    finally:
        kit.teardown_method()
    raise AssertionError(f"{claim} does not notice it")


@pytest.mark.parametrize("fault", IN_MEMORY, ids=lambda fault: fault.__name__)
def test_a_fault_of_the_store_is_noticed(fault: type[faults.Fault]) -> None:
    class Kit(MemoryGiven):
        def make_store(self, sink: str) -> Memory:
            return fault(self.server)

        def teardown_method(self) -> None:
            pass  # closing may be at fault

    assert fault.__doc__
    notices(Kit(), fault.noticed_by)


@pytest.mark.parametrize("fault", ON_MACHINES, ids=lambda fault: fault.__name__)
def test_a_fault_that_only_a_dying_server_shows_is_noticed(
    fault: type[faults_of_machines.Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kit(test_contract_memory.TestMemoryOnAMachine):
        def make_store(self, sink: str) -> faults_of_machines.Fault:
            return fault(self.machine)

        def teardown_method(self) -> None:
            self.machine = Machine()

    monkeypatch.setattr(durability, "BOUND", 0.05)
    monkeypatch.setattr(durability, "PATIENCE", 1.0)
    assert fault.__doc__
    notices(Kit(), fault.noticed_by)


def test_there_are_as_many_faults_as_there_are_names() -> None:
    assert len(IN_MEMORY) + len(ON_MACHINES) >= 60


class ReadsWhatIsNewer(Sqlite):
    """a book is read whatever its format is"""

    def read_book(self) -> Book | None:
        row = self._ask("SELECT body FROM logsync_book WHERE sink = ?", self._sink).fetchone()
        return Book.model_validate_json(row[0]) if row else None


def test_a_store_that_reads_what_a_newer_version_wrote_is_noticed(tmp_path: Path) -> None:
    class Kit(MemoryGiven):
        outlives_the_process = True

        def make_store(self, sink: str) -> Sqlite:
            return ReadsWhatIsNewer(tmp_path / "a.db")

    notices(Kit(), "test_what_a_newer_version_wrote_is_refused")


# Writes


@dataclass(frozen=True)
class Append(Write):
    """Put one more value at the end of a list."""

    commutes: ClassVar[bool] = False
    key: str
    value: int

    @property
    def target(self) -> Target:
        return "lists", self.key

    def law(self, found: tuple[int, ...] | None) -> tuple[int, ...]:
        return (*(found or ()), self.value)


@dataclass(frozen=True)
class Lawless(Write):
    key: str

    @property
    def target(self) -> Target:
        return "lists", self.key


@dataclass(frozen=True)
class Undecided(Write):
    key: str

    @property
    def target(self) -> Target:
        return "lists", self.key

    def law(self, found: object) -> object:
        return found


@dataclass(frozen=True)
class Aimless(Write):
    key: str

    def law(self, found: object) -> object:
        return found


class SaidToCommute(Append):
    commutes: ClassVar[bool] = True


SAMPLES: dict[type[Write], Sample] = {
    Append: lambda key, n: Append(key, n),
    SaidToCommute: lambda key, n: SaidToCommute(key, n),
    Lawless: lambda key, n: Lawless(key),
    Aimless: lambda key, n: Aimless(key),
    Undecided: lambda key, n: Undecided(key),
}


def with_write(kind: type[Write], samples: Mapping[type[Write], Sample]) -> MemoryGiven:
    """The kit over a memory store that accepts one class more."""

    class More(Memory):
        accepts = Memory.accepts | {kind}

    class Kit(MemoryGiven):
        def make_store(self, sink: str) -> Memory:
            return More(self.server)

        def writes(self, sink: str) -> Mapping[type[Write], Sample]:
            return {**super().writes(sink), **samples}

    kit = Kit()
    kit.setup_method()
    return kit


def test_a_new_write_with_a_law_and_a_sample_is_held_to_it() -> None:
    kit = with_write(Append, {Append: SAMPLES[Append]})
    kit.test_every_write_that_the_store_accepts_has_a_law_and_a_sample()
    kit.test_what_is_said_to_commute_does()
    kit.test_each_write_keeps_its_law_after_each_other(2)


@pytest.mark.parametrize(
    ("kind", "samples", "missing"),
    [
        (Lawless, SAMPLES, "Lawless has no law"),
        (Aimless, SAMPLES, "Aimless has no target"),
        (Undecided, SAMPLES, "Undecided does not say whether it commutes"),
        (Append, {}, "Append is accepted and has no sample"),
    ],
)
def test_a_new_write_without_law_target_or_sample_fails_by_name(
    kind: type[Write], samples: Mapping[type[Write], Sample], missing: str
) -> None:
    kit = with_write(kind, {each: sample for each, sample in samples.items() if each is kind})
    with pytest.raises(AssertionError, match=missing):
        kit.test_every_write_that_the_store_accepts_has_a_law_and_a_sample()


def test_a_write_that_is_said_to_commute_and_does_not_fails_by_name() -> None:
    kit = with_write(SaidToCommute, {SaidToCommute: SAMPLES[SaidToCommute]})
    with pytest.raises(AssertionError, match="SaidToCommute is said to commute"):
        kit.test_what_is_said_to_commute_does()


class AppendsToTheFront(Memory):
    accepts = Memory.accepts | {Append}

    def apply(self, plan: Any) -> None:
        before = self.content.by_target
        super().apply(plan)
        for target, value in self.content.by_target.items():
            if target[0] == "lists" and value != before.get(target):
                self.content.by_target[target] = value[::-1]


def test_a_store_that_keeps_another_law_than_the_write_fails() -> None:
    class Kit(MemoryGiven):
        def make_store(self, sink: str) -> Memory:
            return AppendsToTheFront(self.server)

        def writes(self, sink: str) -> Mapping[type[Write], Sample]:
            return {**super().writes(sink), Append: SAMPLES[Append]}

    notices(Kit(), "test_each_write_keeps_its_law_after_each_other 1")


# What the author gives


def test_samples_that_never_meet_are_refused() -> None:
    class Kit(MemoryGiven):
        def writes(self, sink: str) -> Mapping[type[Write], Sample]:
            from tests.contract import samples

            return {**samples.of_rows("items"), Append: SAMPLES[Append]}

    kit = Kit()
    kit.setup_method()
    with pytest.raises(AssertionError, match="Append meets no other class"):
        kit.test_the_samples_show_what_the_claims_look_for()


def test_a_schema_that_tells_nothing_of_what_is_created_is_noticed() -> None:
    class Kit(MemoryGiven):
        creates = ("items",)

    notices(Kit(), "test_schema_tells_what_open_creates")


def test_a_kit_that_must_prove_everything_fails_without_its_hooks() -> None:
    class Kit(MemoryGiven):
        must_prove = True

    kit = Kit()
    kit.setup_method()
    with pytest.raises(pytest.fail.Exception, match="must be proven, and the hooks kill, restart are not given"):
        kit.test_what_a_store_has_returned_for_outlives_the_server()


def test_what_is_not_proven_does_not_pass() -> None:
    kit = MemoryGiven()
    kit.setup_method()
    with pytest.raises(pytest.xfail.Exception, match="not proven: the hooks kill, restart are not given"):
        kit.test_what_a_store_has_returned_for_outlives_the_server()


def test_a_run_shows_what_is_not_proven_by_that_name() -> None:
    """In a process of its own: how pytest shows it is the claim."""
    claim = "tests/contract/test_contract_memory.py::TestMemory::test_a_server_that_hangs_is_an_outage_within_the_bound"
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:xdist", "-p", "no:cacheprovider", claim]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"::test_a_server_that_hangs\S* NOT PROVEN", shown)
    assert f"{claim}: not proven: the hooks pause, restart are not given" in shown
    assert re.search(r"= 1 not proven in ", shown)
    assert "passed" not in shown
