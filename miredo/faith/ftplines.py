# SPDX-License-Identifier: MIT
"""
One direction of a control connection: lines, with what Telnet (RFC 854) puts between them taken out.

A line ends with LF, which almost always stands behind CR; it is kept byte for byte, since a path name may be in any
encoding (RFC 2640 3.1: a CR in it is followed by NUL). Telnet's part::

    IAC IAC                          the byte 255, left as it is
    IAC WILL | WONT | DO | DONT x    a negotiation: never relayed, refused by us (RFC 6384 5, RFC 1123 4.1.2.12)
    IAC SB ... IAC SE                dropped, as no option was agreed to; it ends with the line at the latest
    IAC IP, IAC DM and the like      a signal: goes on ahead of the line in which it stands
    IAC and anything below 236       no Telnet command: a byte of somebody's file name

At most one byte of a line or a signal is urgent: TCP itself keeps only the last mark.
"""

from collections import deque
from typing import Literal, NamedTuple

LONGEST_LINE = 4096
"""Bytes; what is longer comes in pieces. Ours: no path is longer on Linux."""

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
_FIRST_COMMAND = 236
_LF = 10


class Piece(NamedTuple):
    """
    A line with its end, or a part of one that is too long.

    @ivar mark: the offset of the urgent byte.
    """

    text: bytes
    mark: int | None = None
    begins: bool = True
    ends: bool = True


class Signal(NamedTuple):
    """Two bytes that are meant for the other side's attention, such as Interrupt Process."""

    text: bytes
    mark: int | None


class Negotiation(NamedTuple):
    """Three bytes that offer or ask for an option."""

    text: bytes

    @property
    def refusal(self) -> bytes:
        """What to say to that; nothing to who refuses himself."""
        _, verb, option = self.text
        return bytes((IAC, DONT if verb == WILL else WONT, option)) if verb in (WILL, DO) else b""


Item = Piece | Signal | Negotiation

GO_ON: Literal[True] = True
"""There was something to leave out, and there may be an item behind it."""


class Lines:
    """Bytes in at any time, items out when somebody asks for the next."""

    __slots__ = ("_at", "_begins", "_mark", "_marks", "_raw", "_skipping", "_text")

    def __init__(self) -> None:
        self._raw = bytearray()
        self._at = 0  # how many bytes were before those
        self._marks: deque[int] = deque()
        self._text = bytearray()
        self._mark: int | None = None
        self._begins = True
        self._skipping = False

    def __len__(self) -> int:
        """Bytes that nobody has asked for yet."""
        return len(self._raw)

    def feed(self, data: bytes, urgent: bool = False) -> None:
        """Take what came; the last byte of it is the C{urgent} one."""
        self._raw += data
        if urgent and data:
            self._marks.append(self._at + len(self._raw) - 1)

    def next(self) -> Item | None:
        """What comes next, or C{None} if it has not come as a whole."""
        taken: Item | Literal[True] | None
        while self._raw:
            if self._skipping:
                taken = self._skip_subnegotiation()
            elif self._raw[0] == IAC:
                taken = self._take_command()
            else:
                taken = self._take_text()
            if taken is not GO_ON:
                return taken
        return None

    def rest(self) -> list[tuple[bytes, bool]]:
        """All that was not asked for, as it came: runs of bytes, and whether the last byte of each is urgent."""
        runs = []
        while self._marks:
            runs.append((self._drop(self._marks[0] + 1 - self._at)[0], True))
        runs.append((self._drop(len(self._raw))[0], False))
        return [run for run in runs if run[0]]

    def unfinished(self) -> Piece:
        """The begin of a line whose end will never come."""
        self._keep(len(self._raw))
        piece = Piece(bytes(self._text), self._mark, self._begins, ends=False)
        self._text.clear()
        return piece

    # ------------------------------------------------------------ each returns an item, or None to wait for more

    def _take_text(self) -> Item | Literal[True]:
        end = min(self._before(_LF) + 1, self._before(IAC), len(self._raw))
        self._keep(min(end, LONGEST_LINE - len(self._text)))
        return self._piece() or GO_ON

    def _take_command(self) -> Item | Literal[True] | None:
        if len(self._raw) < 2:
            return None
        verb = self._raw[1]
        if verb == IAC:
            self._keep(2)
            return self._piece() or GO_ON
        if verb < _FIRST_COMMAND:
            self._keep(1)
            return self._piece() or GO_ON
        if verb in (WILL, WONT, DO, DONT):
            return None if len(self._raw) < 3 else Negotiation(self._drop(3)[0])
        if verb in (SB, SE):
            self._skipping = verb == SB
            self._drop(2)
            return GO_ON
        return Signal(*self._drop(2))

    def _skip_subnegotiation(self) -> Literal[True] | None:
        if self._raw[0] == _LF:
            self._skipping = False
        elif self._raw[0] != IAC:
            self._drop(min(self._before(_LF), self._before(IAC)))
        elif len(self._raw) < 2:
            return None
        else:
            self._skipping = self._raw[1] != SE
            self._drop(1 if self._raw[1] == _LF else 2)
        return GO_ON

    # ------------------------------------------------------------ bytes

    def _before(self, stop: int) -> int:
        """How many bytes there are before that one, among those that may be of one line."""
        among = min(len(self._raw), LONGEST_LINE)
        found = self._raw.find(stop, 0, among)
        return among if found < 0 else found

    def _drop(self, count: int) -> tuple[bytes, int | None]:
        """So many bytes off the front, and where among them the mark is."""
        taken = bytes(self._raw[:count])
        del self._raw[:count]
        mark = None
        while self._marks and self._marks[0] < self._at + count:
            mark = self._marks.popleft() - self._at
        self._at += count
        return taken, mark

    def _keep(self, count: int) -> None:
        text, mark = self._drop(count)
        if mark is not None:
            self._mark = len(self._text) + mark
        self._text += text

    def _piece(self) -> Piece | None:
        ends = self._text.endswith(b"\n")
        if not ends and len(self._text) < LONGEST_LINE:
            return None
        piece = Piece(bytes(self._text), self._mark, self._begins, ends)
        self._text.clear()
        self._mark, self._begins = None, ends
        return piece
