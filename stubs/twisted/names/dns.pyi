# What we use of twisted.names.dns, whose records have no annotations of their own.
from typing import IO, ClassVar

A: int
NS: int
MD: int
MF: int
CNAME: int
SOA: int
MB: int
MG: int
MR: int
PTR: int
MINFO: int
MX: int
TXT: int
RP: int
AFSDB: int
AAAA: int
SRV: int
DNAME: int
OPT: int
IXFR: int
AXFR: int
CH: int
IN: int
OK: int
EFORMAT: int
ESERVER: int
ENAME: int
ENOTIMP: int
EREFUSED: int
PORT: int

class Name:
    name: bytes
    def __init__(self, name: bytes | str = b"") -> None: ...
    def encode(self, strio: IO[bytes], compDict: dict[bytes, int] | None = None) -> None: ...

class Query:
    name: Name
    type: int
    cls: int
    def __init__(self, name: bytes | str = ..., kind: int = ..., cls: int = ..., /) -> None: ...

class _A:
    TYPE: ClassVar[int]
    address: bytes
    def __init__(self, address: bytes | str = ..., ttl: int | None = None) -> None: ...

class _CNAME:
    TYPE: ClassVar[int]
    name: Name
    def __init__(self, name: bytes | str = b"", ttl: int | None = None) -> None: ...

class UnknownRecord:
    data: bytes
    def __init__(self, data: bytes = b"", ttl: int | None = None) -> None: ...
    def encode(self, strio: IO[bytes], compDict: dict[bytes, int] | None = None) -> None: ...

Record_A = _A
Record_CNAME = _CNAME
Record = _A | _CNAME | UnknownRecord

class RRHeader:
    name: Name
    type: int
    cls: int
    ttl: int
    rdlength: int | None
    payload: Record | None
    def __init__(
        self,
        name: bytes | str = ...,
        kind: int = ...,
        cls: int = ...,
        ttl: int = ...,
        payload: Record | None = ...,
        /,
    ) -> None: ...

class Message:
    id: int
    answer: int
    opCode: int
    auth: bool
    trunc: int
    recDes: int
    recAv: int
    rCode: int
    maxSize: int
    authenticData: int
    checkingDisabled: int
    queries: list[Query]
    answers: list[RRHeader]
    authority: list[RRHeader]
    additional: list[RRHeader]
    def __init__(
        self,
        identifier: int = ...,
        /,
        answer: int = 0,
        opCode: int = 0,
        recDes: int = 0,
        recAv: int = 0,
        auth: bool = False,
        rCode: int = 0,
        trunc: int = 0,
        maxSize: int = 512,
        authenticData: int = 0,
        checkingDisabled: int = 0,
    ) -> None: ...
    def lookupRecordType(self, code: int, /) -> type[Record]: ...
    def toStr(self) -> bytes: ...
    def fromStr(self, octets: bytes, /) -> None: ...
    def decode(self, strio: IO[bytes], length: int | None = None) -> None: ...
