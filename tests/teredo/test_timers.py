# SPDX-License-Identifier: MIT
"""Deadlines, exact ones and those by the second: they come in time, once, and leave nothing behind."""

import weakref

from hypothesis import given
from hypothesis import strategies as st

from miredo.teredo.timers import SLACK, Agenda, Wheel


class Entry:
    """Something that has a deadline."""


def drain(agenda: Agenda[Entry], now: float) -> list[Entry]:
    found: list[Entry] = []
    while (item := agenda.pop(now)) is not None:
        found.append(item)
    return found


def test_an_agenda_calls_in_the_order_of_time_and_not_before() -> None:
    agenda: Agenda[Entry] = Agenda()
    late, early = Entry(), Entry()
    agenda.put(2.0, late)
    agenda.put(1.0, early)
    assert agenda.deadline == 1.0
    assert drain(agenda, 0.9) == []
    assert drain(agenda, 1.0) == [early]
    assert agenda.deadline == 2.0
    assert drain(agenda, 5.0) == [late]
    assert agenda.deadline is None


def test_the_newest_deadline_of_an_item_is_the_one_that_counts() -> None:
    agenda: Agenda[Entry] = Agenda()
    entry = Entry()
    agenda.put(1.0, entry)
    agenda.put(3.0, entry)
    assert (agenda.deadline, len(agenda)) == (3.0, 1)
    assert drain(agenda, 2.0) == []
    agenda.put(2.5, entry)
    assert drain(agenda, 2.5) == [entry]
    assert drain(agenda, 9.0) == []


def test_what_was_removed_is_never_called() -> None:
    agenda: Agenda[Entry] = Agenda()
    entry = Entry()
    agenda.put(1.0, entry)
    agenda.remove(entry)
    agenda.remove(entry)
    assert (agenda.deadline, len(agenda)) == (None, 0)
    assert agenda.pop(2.0) is None


def test_items_of_one_time_are_called_in_the_order_they_were_put_down() -> None:
    agenda: Agenda[Entry] = Agenda()
    entries = [Entry() for _ in range(5)]
    for entry in entries:
        agenda.put(1.0, entry)
    assert drain(agenda, 1.0) == entries


def test_a_cleared_agenda_holds_nothing() -> None:
    agenda: Agenda[Entry] = Agenda()
    agenda.put(1.0, Entry())
    agenda.clear()
    assert (agenda.deadline, len(agenda)) == (None, 0)


def test_an_agenda_lets_go_of_what_is_past() -> None:
    """An item that was put off again and again, and one that was removed, are not kept beyond their times."""
    agenda: Agenda[Entry] = Agenda()
    removed, stays = Entry(), Entry()
    gone = weakref.ref(removed)
    agenda.put(1.0, removed)
    agenda.put(9.0, stays)
    agenda.remove(removed)
    del removed
    assert agenda.deadline == 9.0
    assert gone() is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40) | st.none()), max_size=60))
def test_an_agenda_agrees_with_a_dictionary(steps: list[tuple[int, int | None]]) -> None:
    agenda: Agenda[Entry] = Agenda()
    entries = [Entry() for _ in range(10)]
    due: dict[int, float] = {}
    for which, when in steps:
        if when is None:
            agenda.remove(entries[which])
            due.pop(which, None)
        else:
            agenda.put(when / 2, entries[which])
            due[which] = when / 2
    assert agenda.deadline == min(due.values(), default=None)
    called = {entries.index(entry) for entry in drain(agenda, 10.0)}
    assert called == {which for which, when in due.items() if when <= 10.0}
    assert len(agenda) == len(due) - len(called)


def test_a_wheel_is_early_by_nothing_and_late_by_less_than_a_second() -> None:
    wheel: Wheel[Entry] = Wheel()
    entry = Entry()
    wheel.put(10.25, entry)
    assert wheel.deadline == 11.0
    assert [wheel.pop(10.99), wheel.pop(11.0), wheel.pop(12.0)] == [[], [entry], []]


def test_a_wheel_gives_second_by_second() -> None:
    wheel: Wheel[int] = Wheel()
    for when in (3.0, 1.5, 2.0, 7.0):
        wheel.put(when, int(when * 10))
    assert wheel.pop(5.0) == [15, 20]
    assert wheel.pop(5.0) == [30]
    assert wheel.pop(5.0) == []
    wheel.clear()
    assert wheel.deadline is None


def test_a_wheel_gives_its_first_item_before_its_time_when_asked() -> None:
    wheel: Wheel[str] = Wheel()
    assert [wheel.put(2.5, "late"), wheel.put(1.0, "early")] == [3, 1]
    assert wheel.take_first() == (1, "early")
    assert wheel.deadline == 3.0
    assert [wheel.take_first(), wheel.take_first()] == [(3, "late"), None]
    assert wheel.deadline is None


def test_an_agenda_holds_on_to_little_that_was_removed() -> None:
    agenda: Agenda[Entry] = Agenda()
    kept = Entry()
    agenda.put(1.0, kept)
    removed = [Entry() for _ in range(1000)]
    for entry in removed:
        agenda.put(300.0, entry)
        agenda.remove(entry)
    alive = [weakref.ref(entry) for entry in removed]
    removed.clear()
    del entry
    assert sum(each() is not None for each in alive) <= 2 * len(agenda) + SLACK
    assert drain(agenda, 301.0) == [kept]


def test_a_wheel_is_sifted_of_what_no_longer_matters() -> None:
    wheel: Wheel[Entry] = Wheel()
    entries = [Entry() for _ in range(10)]
    for number, entry in enumerate(entries):
        wheel.put(float(number % 3), entry)
    wheel.sift(lambda second, item: second == 1 and item is not entries[4])
    assert len(wheel) == 2
    assert wheel.deadline == 1.0
    assert wheel.pop(1.0) == [entries[1], entries[7]]
    assert len(wheel) == 0
