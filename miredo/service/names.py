# SPDX-License-Identifier: MIT
"""Host names to IPv4 addresses: hosts(5), then the name servers of resolv.conf(5), asked in the role's own namespace.

The files are those of C{/etc/netns/NAME} where there are such (ip-netns(8)), else those of C{/etc}, read anew for each
look-up. Of resolv.conf the C{nameserver} lines count, the first three with an IPv4 address: name servers that have an
IPv6 address are not asked. C{search} and C{options} are not obeyed, and the modules of nsswitch.conf(5) (mDNS, LDAP and
so on) are not asked. TCP is not used: of an answer that was cut short, what is there is taken.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol
from twisted.names import dns

from miredo.address.endpoint import Dice, IPv4, parse_ipv4, show_ipv4
from miredo.kernel.interfaces import IClock, IEndpoints

ANY_ADDRESS = show_ipv4(bytes(4))
PATIENCE = 1.0, 3.0, 9.0
"""Seconds that each name server is waited for, in a first round, a second and a third. Ours."""
NAME_SERVERS = 3
"""How many of them are asked (resolv.conf(5), MAXNS)."""
USUAL_NAME_SERVER = "127.0.0.1"
"""Who is asked if resolv.conf names nobody (resolv.conf(5))."""
MESSAGE_LIMIT = 512
"""Bytes of an answer over UDP (RFC 1035 4.2.1); more would have to be asked for (RFC 6891)."""
CHAIN_LIMIT = 16
"""Aliases that are followed. Ours."""
FILE_LIMIT = 1 << 16
"""Bytes of resolv.conf that are read. Ours."""
HOSTS_LIMIT = 1 << 24
"""Bytes of hosts(5) that are read: some people keep half a million names there. Ours."""
CODES = {dns.EFORMAT: "FORMERR", dns.ESERVER: "SERVFAIL", dns.ENOTIMP: "NOTIMP", dns.EREFUSED: "REFUSED"}
"""The names of response codes (RFC 1035 4.1.1)."""


class HostNames:
    """Looks up the IPv4 addresses of host names, as seen from one network namespace.

    @param endpoints: opens the socket of each question in the namespace.
    @param dice: draws the identifier of each question.
    @param etc: where the files are.
    """

    def __init__(self, endpoints: IEndpoints, clock: IClock, dice: Dice, etc: str = "/etc") -> None:
        self._endpoints = endpoints
        self._clock = clock
        self._dice = dice
        self._etc = etc

    def __call__(self, name: str) -> Deferred[list[IPv4]]:
        """The addresses of C{name}, at least one; fails with C{DNSLookupError}. It may be cancelled."""
        return Deferred.fromCoroutine(self._look_up(name.removesuffix(".")))

    async def _look_up(self, name: str) -> list[IPv4]:
        addresses = _ipv4_among(listed_addresses(self._read("hosts", HOSTS_LIMIT)[1], name))
        if addresses:
            return addresses
        answer = await self._ask_in_turn(name)
        if answer.rCode == dns.ENAME:
            raise DNSLookupError(f"{name} does not exist")
        addresses = addresses_in(answer, name)
        if not addresses:
            cut = " in an answer that was cut short" if answer.trunc else ""
            raise DNSLookupError(f"{name} has no IPv4 address{cut}")
        return addresses

    async def _ask_in_turn(self, name: str) -> dns.Message:
        """What the first name server answers that knows whether there is such a name."""
        excuses: dict[str, str] = {}
        waiting = self._name_servers()
        for patience in PATIENCE:
            for server in tuple(waiting):
                answer = await self._ask(name, server, patience)
                if isinstance(answer, str):
                    excuses[server] = answer
                elif answer.rCode in (dns.OK, dns.ENAME):
                    return answer
                else:
                    excuses[server] = CODES.get(answer.rCode, f"response code {answer.rCode}")
                    waiting.remove(server)
        raise DNSLookupError(", ".join(f"{server}: {excuse}" for server, excuse in excuses.items()))

    async def _ask(self, name: str, server: str, patience: float) -> dns.Message | str:
        """Ask one name server from a port of its own, drawn by the kernel; its answer, or why there is none."""
        question = Question(name, server, int.from_bytes(self._dice(2), "big"))
        try:
            port = self._endpoints.listen_udp(question, ANY_ADDRESS, 0)
        except OSError as error:
            return error.strerror or str(error)
        alarm = self._clock.alarm(question.give_up)
        try:
            alarm.arm(self._clock.now() + patience)
            port.write(question.datagram, (server, dns.PORT))
            return await question.answer or "no answer"
        except OSError as error:
            return error.strerror or str(error)
        finally:
            alarm.cancel()
            await maybeDeferred(IListeningPort(port).stopListening)

    def _name_servers(self) -> list[str]:
        path, text = self._read("resolv.conf", FILE_LIMIT)
        listed = listed_name_servers(text) or [USUAL_NAME_SERVER]
        usable = [server for server in listed if _ipv4_among([server])]
        if not usable:
            raise DNSLookupError(f"{path} names IPv6 name servers only, and just those with an IPv4 address are asked")
        return usable[:NAME_SERVERS]

    def _read(self, name: str, limit: int) -> tuple[str, str]:
        """A file of the namespace's own, if there is one, as C{ip netns exec} has it: its path, and what is in it."""
        folders = [self._etc]
        if self._endpoints.namespace is not None:
            folders.insert(0, f"{self._etc}/netns/{self._endpoints.namespace}")
        for folder in folders:
            path = f"{folder}/{name}"
            try:
                return path, self._endpoints.read_file(path, limit).decode("latin-1")
            except FileNotFoundError:
                continue
            except OSError:
                return path, ""
        return f"{self._etc}/{name}", ""


class Question(DatagramProtocol):
    """One question to one name server.

    @ivar datagram: what is to be sent.
    @ivar answer: fires with the answer, or with C{None} after L{give_up}; it may be cancelled.
    """

    noisy = False

    def __init__(self, name: str, server: str, identifier: int) -> None:
        self._asked = dns.Query(name, dns.A, dns.IN)
        self._from = server, dns.PORT
        message = dns.Message(identifier, recDes=1)
        message.queries = [self._asked]
        self.datagram = message.toStr()
        self.answer: Deferred[dns.Message | None] = Deferred()

    def datagramReceived(self, datagram: bytes, address: tuple[str, int]) -> None:
        """Take the answer; what anybody else sends, or says of anything else, is passed over."""
        if address != self._from or datagram[:2] != self.datagram[:2] or len(datagram) > MESSAGE_LIMIT:
            return
        message = Answer()
        try:
            message.fromStr(datagram)
        except (EOFError, ValueError):
            return
        if self._is_answered_by(message) and not self.answer.called:
            self.answer.callback(message)

    def give_up(self) -> None:
        """Wait no longer."""
        if not self.answer.called:
            self.answer.callback(None)

    def _is_answered_by(self, message: dns.Message) -> bool:
        """RFC 5452 9.1: the answer to a standard query, for the very question."""
        if not message.answer or message.opCode or len(message.queries) != 1:
            return False
        (query,) = message.queries
        return _is_same(query.name, self._asked.name) and (query.type, query.cls) == (dns.A, dns.IN)


class Answer(dns.Message):
    """Reads the records that lead to an address, and skips all others."""

    def lookupRecordType(self, code: int, /) -> type[dns.Record_A | dns.Record_CNAME | dns.UnknownRecord]:
        match code:
            case dns.A:
                return dns.Record_A
            case dns.CNAME:
                return dns.Record_CNAME
            case _:
                return dns.UnknownRecord


def addresses_in(message: dns.Message, name: str) -> list[IPv4]:
    """The addresses of C{name} in an answer, aliases followed as it has them (RFC 1034 3.6.2)."""
    here = dns.Name(name)
    records = [record for record in message.answers if record.cls == dns.IN]
    for _ in range(CHAIN_LIMIT):
        own = [record.payload for record in records if _is_same(record.name, here)]
        addresses = [payload.address for payload in own if isinstance(payload, dns.Record_A)]
        aliases = [payload.name for payload in own if isinstance(payload, dns.Record_CNAME)]
        if addresses or not aliases:
            return addresses
        here = aliases[0]
    return []


def listed_addresses(text: str, name: str) -> list[str]:
    """What a hosts(5) has for a name, IPv6 addresses too."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [words[0] for words in lines if name.lower() in (word.lower() for word in words[1:])]


def listed_name_servers(text: str) -> list[str]:
    """Whom a resolv.conf(5) names, IPv6 addresses too."""
    lines = (line.split() for line in text.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def _ipv4_among(words: list[str]) -> list[IPv4]:
    found = []
    for word in words:
        try:
            found.append(parse_ipv4(word))
        except ValueError:  # an IPv6 address, or nonsense
            continue
    return found


def _is_same(one: dns.Name, other: dns.Name) -> bool:
    """Names are compared without regard to case (RFC 1035 2.3.3)."""
    return one.name.lower() == other.name.lower()
