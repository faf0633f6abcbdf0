"""What logsync asks Kafka for, with the fewest rights that let each task pass. Run as a module, it writes the page.

``test_rights.py`` runs every task with exactly these rights, and once more without each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[3] / "docs" / "permissions.md"
BEGIN, END = "<!-- made from the rights that the tests run with -->\n", "<!-- end -->\n"


class Right(NamedTuple):
    """As ``kafka-acls`` spells it: --operation, and --topic or --group."""

    operation: str
    resource: str


WRITE, READ = Right("Write", "topic"), Right("Read", "topic")
CREATE, DESCRIBE, CONFIGS = Right("Create", "topic"), Right("Describe", "topic"), Right("DescribeConfigs", "topic")
JOIN, BOOKMARK = Right("Read", "group"), Right("Describe", "group")
NAMES = {"topic": "shop.events", "group": "logsync.live.db"}


class Task(NamedTuple):
    """``name``: what a person writes, a command of logsync or a call. ``code``: the exit code when it has passed."""

    role: str
    name: str
    needs: tuple[Right, ...]
    command: str = ""
    code: int = 0


SINK = "tests.integration.kafka.guarded:sink"
WORKER = (READ, CONFIGS, JOIN)
TASKS = (
    Task("writer", "append", (WRITE,)),
    Task("writer", "append_many", (WRITE,)),
    Task("writer", "AsyncProducer.append", (WRITE,)),
    Task("writer", "retry of an unknown append", (WRITE,)),
    Task("sink", "logsync consume", WORKER, f"consume {SINK} --until-end"),
    Task("operator", "logsync topic create", (CREATE, DESCRIBE, CONFIGS), "topic create {topic}"),
    Task("operator", "logsync topic describe", (DESCRIBE, CONFIGS), "topic describe {topic}"),
    Task("operator", "logsync status", (READ, BOOKMARK), f"status {SINK} --json --fail-behind 5"),
    Task("operator", "logsync doctor", (READ, CONFIGS, BOOKMARK), f"doctor {SINK} --json", 10),
    Task("operator", "logsync show", (READ,), f"show 0:0 --sink {SINK}"),
    Task("operator", "logsync history", (READ,), f"history good --sink {SINK}"),
    Task("operator", "logsync skip", (READ,), f"skip {SINK} 0 4 --reason test --yes"),
    Task("operator", "logsync position set", (READ,), f"position set {SINK} 0 2 --from 4 --reason test --yes"),
    Task("operator", "logsync position adopt", (READ,), f"position adopt {SINK} --yes"),
    Task("operator", "logsync rebuild --no-replay", (READ,), f"rebuild {SINK} --no-replay --yes"),
    Task("operator", "logsync rebuild", WORKER, f"rebuild {SINK} --yes"),
    Task("operator", "logsync parked retry", WORKER, f"parked retry {SINK} --all --yes"),
    Task("operator", "logsync parked discard", WORKER, f"parked discard {SINK} --all --reason test --yes"),
    Task("operator", "logsync parked list", (), f"parked list {SINK}"),
    Task("operator", "logsync parked show", (), f"parked show {SINK} 0:1"),
    Task("operator", "logsync position show", (), f"position show {SINK}"),
    Task("operator", "logsync position forget", (), f"position forget {SINK} --yes"),
)


def deprived(needs: tuple[Right, ...]) -> Iterator[tuple[Right, tuple[Right, ...]]]:
    """(right that is missing, rights that are left), for each of ``needs``: taken away, and weakened to Describe."""
    for right in needs:
        left = tuple(other for other in needs if other != right)
        yield right, left
        if right.operation in ("Read", "Write"):
            yield right, (*left, Right("Describe", right.resource))


def least(rights: Iterable[Right]) -> list[Right]:
    """Without doubles, and without Describe where Read or Write include it."""
    found = list(dict.fromkeys(rights))
    strong = {right.resource for right in found if right.operation in ("Read", "Write")}
    return [right for right in found if right.operation != "Describe" or right.resource not in strong]


def tables() -> str:
    lines = [BEGIN]
    for role in dict.fromkeys(task.role for task in TASKS):
        tasks = [task for task in TASKS if task.role == role]
        lines += [f"\n### {role}\n\n| right | on | needed for |\n|---|---|---|\n"]
        for right in least(chain.from_iterable(task.needs for task in tasks)):
            includes = [right, *([Right("Describe", right.resource)] if right.operation in ("Read", "Write") else [])]
            lines += [
                f"| {right.operation} | {right.resource} `{NAMES[right.resource]}` | {_users(tasks, includes)} |\n"
            ]
        idle = [f"`{task.name}`" for task in tasks if not task.needs]
        lines += [f"\nNo right at all: {', '.join(idle)}.\n"] if idle else []
    return "".join([*lines, "\n", END])


def _users(tasks: list[Task], rights: list[Right]) -> str:
    return ", ".join(
        f"`{task.name}`" + ("" if rights[0] in task.needs else " (Describe is enough)")
        for task in tasks
        if set(rights) & set(task.needs)
    )


def page(text: str) -> str:
    """The page with its tables made anew."""
    head, _, rest = text.partition(BEGIN)
    return head + tables() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
