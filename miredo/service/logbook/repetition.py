# SPDX-License-Identifier: MIT
"""
A limit for each kind of line, so that no flood fills a disk or hides what else is said.

A kind may be said L{BURST} times at once, and then once in L{INTERVAL} seconds. What is held back is counted; one line
tells the number and the first text of it, in the place of the next one that may be said.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator

from miredo.service.logbook.wording import Entry
from miredo.teredo.buckets import TokenBucket

BURST = 20
"""Lines of a kind at once; ours: more than a start, or a burst of questions at the worst moment, says of one thing."""
INTERVAL = 10.0
"""Seconds between lines of a kind in the long run; ours: 8,640 a day, a megabyte."""
KINDS = 256
"""Kinds that are kept at most; ours: this program has some 60, and a name of a role and of an exception for each."""


class Held:
    """What is held back of one kind."""

    __slots__ = ("bucket", "count", "first", "until")

    def __init__(self, bucket: TokenBucket, first: Entry, until: float) -> None:
        self.bucket, self.first, self.until = bucket, first, until
        self.count = 1

    def told(self) -> Entry:
        """The line in the place of all."""
        text = f"... {self.count} more like this: {self.first.text}"
        return self.first._replace(text=text, trace=(), fields={"held_back": self.count})


class Repetition:
    """Holds back what is said too often. Time is seconds of any clock that has no steps."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()
        self._held: OrderedDict[Hashable, Held] = OrderedDict()

    @property
    def deadline(self) -> float | None:
        """When there is something to tell of what is held back."""
        return next(iter(self._held.values())).until if self._held else None

    def takes(self, kind: Hashable, entry: Callable[[], Entry], now: float) -> bool:
        """Whether a line of this kind is to be said; if not, it is counted.

        @param entry: makes the line, which is dear and mostly not needed.
        """
        if (held := self._held.get(kind)) is not None:
            held.count += 1
            return False
        bucket = self._buckets.get(kind)
        if bucket is None:
            bucket = self._buckets[kind] = TokenBucket(1 / INTERVAL, BURST)
        self._buckets.move_to_end(kind)
        if len(self._buckets) > KINDS:
            self._buckets.popitem(last=False)
        if bucket.take(now):
            return True
        self._held[kind] = Held(bucket, entry(), now + INTERVAL)
        return False

    def tell(self, now: float | None) -> Iterator[Entry]:
        """What was held back until C{now}, or all of it, and what there is no more room for."""
        while self._held and (now is None or len(self._held) > KINDS or self._first_until() <= now):
            _, held = self._held.popitem(last=False)
            held.bucket.take(held.until)
            yield held.told()

    def _first_until(self) -> float:
        return next(iter(self._held.values())).until
