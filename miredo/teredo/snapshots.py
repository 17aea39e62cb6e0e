# SPDX-License-Identifier: MIT
"""The values and the state of a core as bytes, and back, safe to read from a file of unknown origin.

Not pickle, also not with a restricted unpickler: a core holds functions (its dice, what it calls for an attempt),
whatever rebuilds those can be talked into calling something, and what is admitted has to be argued opcode by opcode.
This format has no way to name a function. Reading it makes plain values and members of the classes in L{ADMITTED},
without a call of their constructors, and puts nothing in the place of a method. Functions are left out when state
is written; L{load_state} therefore takes a core that was built afresh, which has its own, and fills the rest::

    N  T  F                        None, True, False
    i  n bytes   f  8 bytes        integer (signed, with its length before it), float
    b  n bytes   s  n bytes        bytes, str (UTF-8); each numbered as it appears
    (  n values  n  class, values  tuple, named tuple
    [ d  n values                  list, deque; numbered
    {  O  C  n pairs               dict, OrderedDict, Counter; numbered
    e  class, name                 member of an Enum
    o  class, n (name, value)      an object's fields; numbered
    r  n                           number n again

Lengths and numbers have 7 bits a byte, the least significant first, the highest bit set in all but the last.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from enum import Enum
from types import ModuleType
from typing import TypeVar

from miredo.address import ranges, scope
from miredo.teredo import (
    actions,
    bubblesource,
    buckets,
    client,
    discovery,
    drops,
    filtering,
    interval,
    mire,
    newcomers,
    otherports,
    peers,
    qualification,
    queues,
    relay,
    security,
    server,
    silences,
    symmetric,
    timers,
    traversal,
)
from miredo.teredo.timers import Agenda
from miredo.wire import icmpv6

MODULES: tuple[ModuleType, ...] = (
    ranges,
    scope,
    icmpv6,
    actions,
    bubblesource,
    buckets,
    client,
    discovery,
    drops,
    filtering,
    interval,
    mire,
    newcomers,
    otherports,
    peers,
    qualification,
    queues,
    relay,
    security,
    server,
    silences,
    symmetric,
    timers,
    traversal,
)
DEPTH = 100
"""How deep values may lie in one another. Ours: a client's state is less than 20 deep."""


def _name(kind: type) -> str:
    """C{client.Client}: two modules have a C{Server}."""
    return f"{kind.__module__.rpartition('.')[2]}.{kind.__qualname__}"


ADMITTED: dict[str, type] = {
    _name(kind): kind
    for module in MODULES
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__module__ == module.__name__ and not issubclass(kind, BaseException)
}
"""The classes that may be read, by the last word of their module and their own name."""


class DamagedRecording(ValueError):
    """This is no recording, or it was cut short or changed, or another version wrote it."""


# ------------------------------------------------------------------ writing


def dump(value: object) -> bytes:
    """The bytes of a value, or of a core's state.

    @raise TypeError: it has a part of a class that is not admitted.
    """
    writer = _Writer()
    writer.write(value)
    return bytes(writer.data)


class _Writer:
    def __init__(self) -> None:
        self.data = bytearray()
        self._texts: dict[str, int] = {}
        self._octets: dict[bytes, int] = {}
        self._objects: dict[int, int] = {}
        self._alive: list[object] = []
        self._count = 0

    def write(self, value: object) -> None:
        match value:
            case None:
                self.data += b"N"
            case bool():
                self.data += b"T" if value else b"F"
            case bytes():
                self._bytes(value)
            case str():
                self._text(value)
            case Enum():
                self._tag(b"e", _admitted_name(type(value)), value.name)
            case int():
                octets = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
                self.data += b"i" + _length(len(octets)) + octets
            case float():
                self.data += b"f" + struct.pack("!d", value)
            case tuple():
                self._tuple(value)
            case _:
                self._mutable(value)

    def _tag(self, tag: bytes, *values: object) -> None:
        self.data += tag
        for value in values:
            self.write(value)

    def _number(self) -> int:
        self._count += 1
        return self._count - 1

    def _again(self, number: int) -> None:
        self.data += b"r" + _length(number)

    def _bytes(self, value: bytes) -> None:
        if (seen := self._octets.get(value)) is not None:
            self._again(seen)
            return
        self._octets[value] = self._number()
        self.data += b"b" + _length(len(value)) + value

    def _text(self, value: str) -> None:
        if (seen := self._texts.get(value)) is not None:
            self._again(seen)
            return
        self._texts[value] = self._number()
        octets = value.encode("utf-8", "backslashreplace")
        self.data += b"s" + _length(len(octets)) + octets

    def _tuple(self, value: tuple[object, ...]) -> None:
        if type(value) is tuple:
            self.data += b"(" + _length(len(value))
        else:
            self._tag(b"n", _admitted_name(type(value)))
            self.data += _length(len(value))
        for item in value:
            self.write(item)

    def _mutable(self, value: object) -> None:
        if (seen := self._objects.get(id(value))) is not None:
            self._again(seen)
            return
        self._objects[id(value)] = self._number()
        match value:
            case list():
                self._items(b"[", value)
            case deque():
                self._items(b"d", value)
            case Counter():
                self._pairs(b"C", value)
            case OrderedDict():
                self._pairs(b"O", value)
            case dict():
                self._pairs(b"{", value)
            case _:
                self._object(value)

    def _items(self, tag: bytes, values: list[object] | deque[object]) -> None:
        self.data += tag + _length(len(values))
        for value in values:
            self.write(value)

    def _pairs(self, tag: bytes, values: Mapping[object, object]) -> None:
        self.data += tag + _length(len(values))
        for key, value in values.items():
            self.write(key)
            self.write(value)

    def _object(self, value: object) -> None:
        self._tag(b"o", _admitted_name(type(value)))
        fields = [(name, one) for name, one in _fields(value) if not callable(one)]
        self._alive.append(fields)  # what was made for the purpose keeps its id to itself
        self.data += _length(len(fields))
        for name, one in fields:
            self.write(name)
            self.write(one)


def _admitted_name(kind: type) -> str:
    name = _name(kind)
    if ADMITTED.get(name) is not kind:
        raise TypeError(f"{kind.__module__}.{kind.__qualname__} cannot be recorded")
    return name


def _fields(value: object) -> Iterable[tuple[str, object]]:
    """The fields of an object, in its dictionary or in slots."""
    if isinstance(value, Agenda):
        return _agenda_fields(value)
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(value, name)]
    return [*((name, getattr(value, name)) for name in slots), *getattr(value, "__dict__", {}).items()]


def _agenda_fields(agenda: Agenda[object]) -> list[tuple[str, object]]:
    """What counts: an agenda knows its items by C{id}, which is another one in every process."""
    heap = [entry for entry in agenda._heap if agenda._current.get(id(entry[2])) == entry[1]]
    return [("_serial", agenda._serial), ("_heap", sorted(heap, key=lambda entry: entry[:2]))]


def _length(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


# ------------------------------------------------------------------ reading

_Numbered = TypeVar("_Numbered")


_MAPPINGS: dict[bytes, type[dict[object, object]]] = {b"{": dict, b"O": OrderedDict}


_WRONG = (ValueError, TypeError, AttributeError, LookupError, OverflowError, struct.error)
"""What the making of a plain value raises when it is given anything else than was written."""


def load(data: bytes) -> object:
    """The value that L{dump} made the bytes of; its objects lack their functions.

    @raise DamagedRecording: it cannot be read, or names a class that is not admitted.
    """
    return _load(data, None)


def load_state(data: bytes, core: object) -> None:
    """Give a core that was built just now the state of another one.

    @raise DamagedRecording: it cannot be read, or it is the state of something else.
    """
    if _load(data, core) is not core:
        raise DamagedRecording(f"it has no state of a {type(core).__name__.lower()}")


def _load(data: bytes, into: object) -> object:
    reader = _Reader(data)
    try:
        value = reader.read(into)
    except DamagedRecording:
        raise
    except _WRONG as error:
        raise DamagedRecording(f"a value is damaged: {str(error)!a}") from error
    if reader.at != len(data):
        raise DamagedRecording("there is something behind a value")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0
        self._seen: list[object] = []
        self._depth = 0

    def read(self, into: object = None) -> object:
        """The next value; fields of an object are put into C{into} if it is of the same class."""
        self._depth += 1
        if self._depth > DEPTH:
            raise DamagedRecording(f"values lie more than {DEPTH} deep in one another")
        value = self._value(self._take(1), into)
        self._depth -= 1
        return value

    def _value(self, tag: bytes, into: object) -> object:
        match tag:
            case b"N":
                return None
            case b"T" | b"F":
                return tag == b"T"
            case b"i":
                return int.from_bytes(self._take(self._length()), "big", signed=True)
            case b"f":
                return float(struct.unpack("!d", self._take(8))[0])
            case b"b":
                return self._numbered(self._take(self._length()))
            case b"s":
                return self._numbered(self._take(self._length()).decode())
            case b"(":
                return tuple(self.read() for _ in range(self._length()))
            case b"n":
                return self._named_tuple()
            case b"e":
                return self._member()
            case b"r":
                return self._seen[self._length()]
            case b"o":
                return self._object(into)
            case _:
                return self._collection(tag)

    def _collection(self, tag: bytes) -> object:
        if tag in (b"[", b"d"):
            items: list[object] | deque[object] = [] if tag == b"[" else deque()
            self._seen.append(items)
            for _ in range(self._length()):
                items.append(self.read())
            return items
        if tag == b"C":
            return self._counter()
        if tag not in _MAPPINGS:
            raise DamagedRecording(f"no value begins with {tag!r}")
        pairs = self._numbered(_MAPPINGS[tag]())
        for _ in range(self._length()):
            key = self.read()
            pairs[key] = self.read()
        return pairs

    def _counter(self) -> object:
        counter: Counter[object] = self._numbered(Counter())
        for _ in range(self._length()):
            key, count = self.read(), self.read()
            if not isinstance(count, int):
                raise DamagedRecording("a count is no number")
            counter[key] = count
        return counter

    def _named_tuple(self) -> object:
        kind = self._class(tuple)
        make: Callable[[Iterable[object]], object] | None = getattr(kind, "_make", None)
        values = [self.read() for _ in range(self._length())]
        if make is None:
            raise DamagedRecording(f"{kind.__name__} is no named tuple")
        return make(values)

    def _member(self) -> object:
        members: dict[str, object] = dict(getattr(self._class(Enum), "__members__", {}))
        name = self.read()
        if not isinstance(name, str):
            raise DamagedRecording("the name of a member is no text")
        return members[name]

    def _object(self, into: object) -> object:
        number = len(self._seen)
        self._seen.append(None)
        kind = self._class(object)
        if issubclass(kind, (tuple, Enum)):
            raise DamagedRecording(f"{kind.__name__} has no fields")
        in_place = type(into) is kind and not is_dataclass(kind)
        value = into if in_place else object.__new__(kind)
        self._seen[number] = value
        for _ in range(self._length()):
            name = self.read()
            if not isinstance(name, str) or name.startswith("__") or callable(getattr(kind, name, None)):
                raise DamagedRecording(f"{kind.__name__} has no such field: {name!a}")
            object.__setattr__(value, name, self.read(getattr(value, name, None)))
        if isinstance(value, Agenda):
            value._current = {id(item): serial for _, serial, item in value._heap}
        return value

    def _class(self, base: type) -> type:
        name = self.read()
        kind = ADMITTED.get(name) if isinstance(name, str) else None
        if kind is None or not issubclass(kind, base):
            raise DamagedRecording(f"it names a class that may not be read: {name!a}")
        return kind

    def _numbered(self, value: _Numbered) -> _Numbered:
        self._seen.append(value)
        return value

    def _take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self._data):
            raise DamagedRecording("a value is cut short")
        taken = self._data[self.at : end]
        self.at = end
        return taken

    def _length(self) -> int:
        number = shift = 0
        while True:
            octet = self._take(1)[0]
            number |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                return number
            if shift > 63:
                raise DamagedRecording("a length is too long")
