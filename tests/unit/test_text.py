"""Text that a stranger wrote, where people read it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from logsync.core.text import escaped_json, indented, plain, short

ANY = st.text(st.characters())  # half surrogate pairs among them


@given(ANY)
def test_plain_text_is_one_printable_line_that_any_terminal_takes(text: str) -> None:
    made = plain(text)
    assert made.isprintable()
    made.encode()


@given(ANY)
def test_a_line_of_a_stranger_never_begins_where_a_line_of_ours_does(text: str) -> None:
    assert all(line.startswith("  ") for line in indented(text).splitlines()[1:])


@given(ANY, st.integers(0, 50))
def test_short_text_says_what_was_cut(text: str, most: int) -> None:
    made = short(text, most)
    assert made.isprintable()
    assert (f"... ({len(text) - most:,} more characters)" in made) == (len(text) > most)


@given(st.recursive(st.none() | st.booleans() | st.integers() | ANY, lambda inner: st.dictionaries(ANY, inner)))
def test_escaped_json_is_the_same_value_and_prints(value: object) -> None:
    made = escaped_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert all(line.isprintable() for line in made.split("\n"))
    made.encode()
    assert json.loads(made) == json.loads(json.dumps(value))


def test_escapes_stand_where_a_terminal_would_obey() -> None:
    assert plain("x\n00:00 info FORGED\x1b[2J\x9b2J\u202e\ud800") == r"x\n00:00 info FORGED\x1b[2J\x9b2J\u202e\ud800"
