"""Claims on the meaning of writes: every class has a law, and the store keeps it wherever the log is cut."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import pytest

from logsync.core.position import Position
from logsync.core.write import Target, Write
from logsync.testing.store_contract.given import Given, Meant
from logsync.testing.store_contract.making import steps
from logsync.writes.content import Content
from logsync.writes.rows import STATEMENTS

KEYS = "abcdef"


class Laws(Given):
    """Point 6 of ``logsync.core.store``: writes of one plan take effect as if one by one, in log order."""

    def test_every_write_that_the_store_accepts_has_a_law_and_a_sample(self) -> None:
        samples, rng = self.writes(self.sink), random.Random(1)
        accepts = self.make_store(self.sink).accepts
        assert accepts
        for kind in sorted(accepts, key=lambda kind: kind.__name__):
            name = kind.__name__
            assert kind.law is not Write.law, f"{name} has no law: say in its class what it does to what stands there"
            assert kind.target is not Write.target, f"{name} has no target: say in its class what its law is about"
            said = any("commutes" in vars(each) for each in kind.__mro__ if each is not Write)
            assert said, f"{name} does not say whether it commutes: `commutes: ClassVar[bool] = False`, or True"
            assert kind in samples, f"{name} is accepted and has no sample: add one to writes()"
            for made in (samples[kind](rng.choice(KEYS), n) for n in range(20)):
                write = made.write if isinstance(made, Meant) else made
                assert type(write) is kind, f"the sample of {name} is a {type(write).__name__}"
                if write.target == STATEMENTS:
                    assert isinstance(made, Meant), f"only the server knows what {name} does: Meant(write, as_if=[...])"
        assert samples.keys() <= accepts, "a sample of what the store does not accept"

    def test_the_samples_show_what_the_claims_look_for(self) -> None:
        def after(*writes: Write) -> object:
            return Content().after(writes).plain()

        assert after(self.add("a", 1), self.add("a", 1)) != after(self.add("a", 1)), "adds: twice must show"
        assert after(self.put("a", 1), self.put("a", 2)) == after(self.put("a", 2)), "puts: the last one stays"
        assert after(self.put("a", 1)) != after(self.put("a", 2))
        assert after(self.put("a", 1), self.delete("a")) == after(), "deletes: what puts made is gone"
        reach = {kind: self._targets(kind) for kind in self.writes(self.sink)}
        for kind, targets in reach.items():
            others = [target for other, found in reach.items() if other is not kind for target in found]
            if targets and others:
                assert targets & set(others), (
                    f"{kind.__name__} meets no other class: give one key one row, value, document"
                )

    def test_what_is_said_to_commute_does(self) -> None:
        """A write that says so may be used on several partitions, whose events come in any order. # S2"""
        samples = self.writes(self.sink)
        kinds = [kind for kind in samples if kind.commutes]
        for kind, other in itertools.product(kinds, kinds):
            for n in range(10):
                first, second = _writes(samples[kind]("a", n)), _writes(samples[other]("a", 10 - n))
                one, two = _after([*first, *second]), _after([*second, *first])
                assert one == two, f"{kind.__name__} is said to commute: {first} and {second} do not"

    @pytest.mark.parametrize("plans", [1, 2, 5])
    def test_each_write_keeps_its_law_after_each_other(self, plans: int) -> None:
        """All pairs of classes, in both orders, and each class twice in a row; each pair at a key of its own."""
        samples = self.writes(self.sink)
        runs = []
        for at, (one, two) in enumerate(itertools.product(samples, samples)):
            key = f"p{at}"
            runs.append([samples[one](key, 3), samples[two](key, 5), samples[one](key, 2), samples[one](key, 1)])
        # One pair beside the other, as a log has it: a store that sorts writes by class or by key must not mind.
        self._keeps([made for step in zip(*runs, strict=True) for made in step], plans=plans)

    @pytest.mark.parametrize("seed", range(4))
    def test_any_cut_into_plans_gives_the_same_content(self, seed: int) -> None:
        self._keeps(list(self._drawn(80, seed)), plans=1 + 4 * seed)

    def test_writes_of_one_key_take_effect_in_log_order(self) -> None:
        self._keeps(
            [
                self.put("a", 1), self.delete("a"), self.put("a", 2), self.add("a", 5), self.put("b", 1),
                self.delete("b"), self.delete("missing"), self.put("a", 3), self.add("a", 1),
            ],
            plans=1,
        )  # fmt: skip

    def _targets(self, kind: type[Write]) -> set[Target]:
        sample = self.writes(self.sink)[kind]
        return {write.target for n in range(20) for write in _writes(sample("a", n))}

    def _drawn(self, count: int, seed: int) -> Iterator[Write | Meant]:
        rng, samples = random.Random(seed), self.writes(self.sink)
        kinds = sorted(samples, key=lambda kind: kind.__name__)
        return (samples[rng.choice(kinds)](rng.choice(KEYS), rng.randrange(100)) for _ in range(count))

    def _keeps(self, drawn: Sequence[Write | Meant], *, plans: int) -> None:
        """Apply them in so many plans, and compare. What the laws refuse at its place in the log is left out."""
        model, events = Content(), list[list[Write]]()
        for made in drawn:
            try:
                model = model.after(_writes(made))
            except (TypeError, ValueError):
                continue
            events.append([made.write if isinstance(made, Meant) else made])
        store, at = self.begun(), Position(0, 0)
        size = -(-len(events) // plans)
        for begin in range(0, len(events), size):
            plan = steps(at, *events[begin : begin + size])
            store.apply(plan)
            at = plan.end
        assert self.content(self.sink).plain() == model.plain()


def _writes(made: Write | Meant) -> Sequence[Write]:
    return made.as_if if isinstance(made, Meant) else [made]


def _after(writes: Sequence[Write]) -> object:
    try:
        return Content().after(writes).plain()
    except (TypeError, ValueError):
        return "refused"
