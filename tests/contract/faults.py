"""Memory stores with one fault each, and the claim of the kit that must fail for it. test_contract_kit.py looks."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from logsync.core.book import Book
from logsync.core.parked import Parked
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import StoreSettings
from logsync.core.write import Write
from logsync.errors import PositionConflict, WriteRejected
from logsync.stores.memory import Memory
from logsync.writes.rows import Delete, Increment


class Fault(Memory):
    """Subclasses say in their docstring what is wrong with them."""

    noticed_by: ClassVar[str] = ""
    """The claim; what stands behind a blank is its argument."""


# Positions


class MovesAll(Fault):
    """an apply takes the positions of the other partitions away"""

    noticed_by = "test_a_plan_moves_the_position_of_its_own_partition_only"

    def apply(self, plan: Plan) -> None:
        super().apply(plan)
        self.server.positions[self.sink] = {plan.end.partition: plan.end}


class ComparesNothing(Fault):
    """the stored position is not compared"""

    noticed_by = "test_applying_a_plan_twice_counts_once"

    def apply(self, plan: Plan) -> None:
        self.server.positions[self.sink][plan.start.partition] = plan.start
        super().apply(plan)


class ComparesHalf(Fault):
    """subclasses leave one part of the position's place out"""

    leaves: ClassVar[str]

    def apply(self, plan: Plan) -> None:
        stored = self.server.positions[self.sink].get(plan.start.partition)
        if stored:
            same = {self.leaves: getattr(stored, self.leaves)}
            plan = replace(plan, start=plan.start._replace(**same))
        super().apply(plan)


class ComparesNoEpoch(ComparesHalf):
    """the epoch is not compared"""

    noticed_by = "test_a_plan_of_another_epoch_is_refused"
    leaves = "epoch"


class ComparesNoRetries(ComparesHalf):
    """the count of retries is not compared"""

    noticed_by = "test_a_retry_is_applied_once_whoever_makes_it"
    leaves = "retries"


class ComparesNoOffset(ComparesHalf):
    """the next offset is not compared"""

    noticed_by = "test_a_stale_worker_changes_nothing"
    leaves = "next_offset"


class TakesWhatIsFurtherOn(Fault):
    """a plan from further on is taken: the store was restored, and nobody notices"""

    noticed_by = "test_a_plan_from_further_on_is_refused"

    def apply(self, plan: Plan) -> None:
        stored = self.server.positions[self.sink].get(plan.start.partition)
        if stored and stored.next_offset < plan.start.next_offset:
            plan = replace(plan, start=stored)
        super().apply(plan)


class ComparesFirst(Fault):
    """the position is compared, and written a moment later"""

    noticed_by = "test_of_two_workers_at_the_same_moment_one_moves_the_position"

    def apply(self, plan: Plan) -> None:
        stored = self.server.positions[self.sink][plan.start.partition]
        if stored.place != plan.start.place:
            raise PositionConflict("moved")
        time.sleep(0.002)
        self.server.positions[self.sink][plan.start.partition] = plan.start
        super().apply(plan)


class BeginsAnywhere(Fault):
    """a position that is missing counts as the plan's start"""

    noticed_by = "test_a_missing_position_is_a_conflict_and_never_a_start"

    def apply(self, plan: Plan) -> None:
        self.server.positions[self.sink].setdefault(plan.start.partition, plan.start)
        super().apply(plan)


class ForgetsTheLastRecord(Fault):
    """of a position only the place is kept"""

    noticed_by = "test_a_position_comes_back_whole"

    def positions(self) -> dict[int, Position]:
        return {n: at._replace(last_id=None, leader_epoch=None) for n, at in super().positions().items()}


class StaysWithoutWrites(Fault):
    """a plan without writes moves nothing"""

    noticed_by = "test_a_plan_without_writes_moves_the_position"

    def apply(self, plan: Plan) -> None:
        if plan.writes or plan.parked or plan.released or plan.still_parked:
            super().apply(plan)


class ForgetsAtReopen(Fault):
    """positions are gone once the store is opened again"""

    noticed_by = "test_a_store_can_be_opened_again_and_closed_twice"

    def open(self, sink: str, settings: StoreSettings | None = None) -> None:
        if self.sink:
            self.server.positions[sink] = {}
        super().open(sink, settings)


# Writes


class InOrder(Fault):
    """subclasses carry the writes of a plan out in an order of their own"""

    def first(self, write: Write) -> bool:
        raise NotImplementedError

    def apply(self, plan: Plan) -> None:
        pairs = sorted(zip(plan.offsets, plan.writes, strict=True), key=lambda pair: not self.first(pair[1]))
        offsets, writes = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        super().apply(replace(plan, offsets=offsets, writes=writes))


class AddsFirst(InOrder):
    """writes that commute are carried out before all others"""

    noticed_by = "test_each_write_keeps_its_law_after_each_other 1"

    def first(self, write: Write) -> bool:
        return write.commutes


class AddsLast(InOrder):
    """writes that commute are carried out after all others"""

    noticed_by = "test_each_write_keeps_its_law_after_each_other 1"

    def first(self, write: Write) -> bool:
        return not write.commutes


class DeletesLast(InOrder):
    """deletes are carried out after all upserts"""

    noticed_by = "test_writes_of_one_key_take_effect_in_log_order"

    def first(self, write: Write) -> bool:
        return not isinstance(write, Delete)


class LastOneWins(Fault):
    """of several increments of one row only the last counts"""

    noticed_by = "test_each_write_keeps_its_law_after_each_other 1"

    def apply(self, plan: Plan) -> None:
        last = {(w.table, str(w.key)): n for n, w in enumerate(plan.writes) if isinstance(w, Increment)}
        keep = [n for n, w in enumerate(plan.writes) if not isinstance(w, Increment) or n in last.values()]
        super().apply(replace(plan, writes=[plan.writes[n] for n in keep], offsets=[plan.offsets[n] for n in keep]))


class CutsPlans(Fault):
    """writes after the first thousand are left out"""

    noticed_by = "test_a_large_plan_is_applied_whole"

    def apply(self, plan: Plan) -> None:
        super().apply(replace(plan, writes=plan.writes[:1000], offsets=plan.offsets[:1000]))


# Refusals


class LeavesItsOwnError(Fault):
    """an error of the client library leaves the store"""

    noticed_by = "test_a_refused_write_names_its_event_and_the_events_before_it_still_apply"

    def apply(self, plan: Plan) -> None:
        try:
            super().apply(plan)
        except WriteRejected as error:
            raise ValueError(str(error)) from error


class NamesThePlace(Fault):
    """the error names the place of the write in the plan, and not the offset of its event"""

    noticed_by = "test_a_refused_write_is_found_at_the_offset_of_its_event_and_not_at_its_place_in_the_plan"

    def apply(self, plan: Plan) -> None:
        try:
            super().apply(plan)
        except WriteRejected as error:
            error.offset = plan.start.next_offset + plan.offsets.index(error.offset)
            raise


class NamesTheLast(Fault):
    """the error names the last event of the plan"""

    noticed_by = "test_a_refused_write_names_its_event_and_the_events_before_it_still_apply"

    def apply(self, plan: Plan) -> None:
        try:
            super().apply(plan)
        except WriteRejected as error:
            error.offset = plan.offsets[-1]
            raise


class KeepsTheFirstHalf(Fault):
    """what stands before a refused write stays"""

    noticed_by = "test_a_refused_write_names_its_event_and_the_events_before_it_still_apply"

    def apply(self, plan: Plan) -> None:
        try:
            super().apply(plan)
        except WriteRejected as error:
            count = plan.offsets.index(error.offset)
            self.server.contents[self.sink] = self.content.after(plan.writes[:count])
            raise


class MovesAllTheSame(Fault):
    """the position moves although a write was refused"""

    noticed_by = "test_a_refused_write_names_its_event_and_the_events_before_it_still_apply"

    def apply(self, plan: Plan) -> None:
        try:
            super().apply(plan)
        except WriteRejected:
            self.server.positions[self.sink][plan.end.partition] = plan.end
            raise


class ReleasesAllTheSame(Fault):
    """parked events are released although a write was refused"""

    noticed_by = "test_nothing_of_a_refused_plan_is_parked_or_released"

    def apply(self, plan: Plan) -> None:
        try:
            super().apply(plan)
        except WriteRejected:
            for offset in plan.released:
                self.server.parked[self.sink].pop((plan.start.partition, offset), None)
            raise


# Neighbours


class WipesTheirPositions(Fault):
    """a wipe takes the positions of every sink"""

    noticed_by = "test_a_sink_touches_no_other_sink"

    def wipe(self, book: Book) -> None:
        super().wipe(book)
        self.server.positions = {self.sink: {}}


class WipesTheirParked(Fault):
    """a wipe takes what is parked of every sink"""

    noticed_by = "test_a_sink_touches_no_other_sink"

    def wipe(self, book: Book) -> None:
        super().wipe(book)
        self.server.parked.clear()


class WipesTheirContent(Fault):
    """a wipe takes the content of every sink"""

    noticed_by = "test_a_sink_touches_no_other_sink"

    def wipe(self, book: Book) -> None:
        super().wipe(book)
        self.server.contents.clear()


class ReplacesTheirPositions(Fault):
    """positions that come with a book replace those of every sink"""

    noticed_by = "test_a_sink_touches_no_other_sink"

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        super().write_book(book, positions=positions)
        if positions is not None:
            self.server.positions = {self.sink: self.server.positions[self.sink]}


class ReleasesByOffset(Fault):
    """a released event takes those of the same offset in other partitions with it"""

    noticed_by = "test_what_is_parked_in_one_partition_is_nothing_to_another"

    def apply(self, plan: Plan) -> None:
        super().apply(plan)
        for key in [key for key in self.server.parked[self.sink] if key[1] in plan.released]:
            del self.server.parked[self.sink][key]


class ReleasesTheirs(Fault):
    """a released event takes that of the same offset of every sink with it"""

    noticed_by = "test_a_sink_touches_no_other_sink"

    def apply(self, plan: Plan) -> None:
        super().apply(plan)
        for held in self.server.parked.values():
            for offset in plan.released:
                held.pop((plan.start.partition, offset), None)


class MarksTheirs(Fault):
    """an event that is still parked replaces that of the same offset of every sink"""

    noticed_by = "test_a_sink_touches_no_other_sink"

    def apply(self, plan: Plan) -> None:
        super().apply(plan)
        for held in self.server.parked.values():
            held.update({(entry.partition, entry.offset): entry for entry in plan.still_parked})


class LeavesOddValues(Fault):
    """an error of the client library about a value leaves the store"""

    noticed_by = "test_what_is_no_value_leaves_as_a_refusal_and_not_as_an_error_of_the_client"

    def apply(self, plan: Plan) -> None:
        for write in plan.writes:
            json.dumps(getattr(write, "values", {}))
        super().apply(plan)


class ParksForAll(Fault):
    """what is parked in one partition is told for each"""

    noticed_by = "test_what_is_parked_in_one_partition_is_nothing_to_another"

    def parked(self, partition: int, **options: Any) -> list[Parked]:
        return super().parked(0, **options) + super().parked(1, **options)
