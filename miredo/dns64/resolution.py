# SPDX-License-Identifier: MIT
"""
What is answered to a question: the rules of RFC 6147, 5.1 to 5.5.

  - What is known here is answered from here: hosts(5), ipv4only.arpa (RFC 8880 7.1).
  - AAAA: asked for as it is. An answer with an address that is not excluded is passed on, without those that are. So is
    NXDOMAIN. Any other error, silence and an empty answer mean: ask for A. Addresses are made of what comes; the
    aliases on the way there stay.
  - PTR of an address under a prefix: an alias of the IPv4 address's, if that has a name.
  - All else is passed on as it is; so is everything for a client that validates itself (DO and CD).

A resolution is a generator: it yields an L{Ask}, is sent what came of it, and returns the L{Reply}. No answer in
time is SERVFAIL (5.1.3).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import NamedTuple

from twisted.names import dns

from miredo.dns64.config import Dns64Config
from miredo.dns64.local import LocalNames, alias_of, negative
from miredo.dns64.message import address_record, covers, data_of, pointer, target_of
from miredo.dns64.names import Name, address_of, is_below, is_same, moved, reverse_of
from miredo.dns64.reply import Asked, Reply
from miredo.dns64.synthesis import Synthesis

CHAIN_LIMIT = 16
"""Aliases that are followed. Ours; BIND follows as many."""
TTL_LIMIT = 600
"""Seconds that a made address may be kept where no SOA says how long (RFC 6147 5.1.7)."""


class Ask(NamedTuple):
    """A question to the name servers."""

    name: Name
    kind: int
    cls: int = dns.IN


Resolution = Generator[Ask, Reply, Reply]


class Rules:
    """The rules with one configuration."""

    def __init__(self, config: Dns64Config, local: LocalNames) -> None:
        self._config = config
        self._local = local
        self._synthesis = Synthesis(config)

    def resolve(self, asked: Asked) -> Resolution:
        """Find the reply to a question."""
        if asked.cls != dns.IN:
            return _passed_on(asked)
        own = self._local.reply(asked, self._synthesis)
        if own is not None:
            return _known(own)
        if not asked.recursion:
            return _known(Reply(dns.EREFUSED))
        if asked.validates:
            return _passed_on(asked)
        if asked.kind == dns.AAAA:
            return self._addresses(asked)
        if asked.kind == dns.PTR and (zone := self._reverse_zone(asked.name)):
            return self._names(asked, zone)
        return _passed_on(asked)

    # ------------------------------------------------------------ AAAA

    def _addresses(self, asked: Asked) -> Resolution:
        """RFC 6147 5.1."""
        reply = yield from _followed(Ask(asked.name, dns.AAAA))
        usable = self._usable(reply)
        if reply.code == dns.ENAME and not self._config.after_name_error:
            return usable
        if usable.code == dns.OK and any(each.type == dns.AAAA for each in usable.answers):
            return usable
        basis = yield from _followed(Ask(asked.name, dns.A))
        if basis.code != dns.OK:
            return _aliases_alone(basis)
        made = self._made(asked, basis, _negative_ttl(reply))
        if made is not None:
            return made
        return usable if reply.code == dns.OK else _aliases_alone(basis)

    def _usable(self, reply: Reply) -> Reply:
        """RFC 6147 5.1.4: without the excluded records, and without what signs them."""
        kept = [each for each in reply.answers if each.type != dns.AAAA or not self._synthesis.excludes(data_of(each))]
        if len(kept) == len(reply.answers):
            return reply
        return reply._replace(answers=[each for each in kept if covers(each) != dns.AAAA])

    def _made(self, asked: Asked, basis: Reply, negative_ttl: int) -> Reply | None:
        """RFC 6147 5.1.7 and 5.4: the addresses instead of the A records; C{None}: there are none."""
        end, aliases = chain(basis.answers, asked.name, dns.A)
        found = [each for each in basis.answers if each.type == dns.A and is_same(each.name.name, end)]
        made = [
            address_record(found[index].name.name, min(found[index].ttl, negative_ttl), ipv6)
            for index, ipv6 in self._synthesis.addresses_of([data_of(each) for each in found], asked.client)
        ]
        return basis._replace(answers=[*aliases, *made], authoritative=False) if made else None

    # ------------------------------------------------------------ PTR

    def _reverse_zone(self, name: Name) -> Name | None:
        address = address_of(name)
        return self._synthesis.zone_of(address) if address and len(address) == 16 else None

    def _names(self, asked: Asked, zone: Name) -> Resolution:
        """RFC 6147 5.3.1, its second way, or the first where the operator gave a name."""
        address = address_of(asked.name)
        ipv4 = self._synthesis.embedded_in(address) if address else None
        if ipv4 is None:
            return negative(zone, dns.ENAME)
        if self._config.reverse_name is not None:
            named = pointer(asked.name, dns.PTR, TTL_LIMIT, self._config.reverse_name)
            return Reply(dns.OK, [named], authoritative=True)
        name = reverse_of(ipv4)
        reply = yield from _followed(Ask(name, dns.PTR))
        if reply.code not in (dns.OK, dns.ENAME):
            return Reply(reply.code)
        # An alias that is there already is left out, so that the chain does not get longer.
        end, aliases = chain(reply.answers, name, dns.PTR)
        found = [each for each in reply.answers if each.type == dns.PTR and is_same(each.name.name, end)]
        if not found:
            return negative(zone, reply.code)
        ttl = min(each.ttl for each in (*aliases, *found))
        return Reply(dns.OK, [pointer(asked.name, dns.CNAME, ttl, end), *found])


# ---------------------------------------------------------------- questions


def _known(reply: Reply) -> Resolution:
    """Nobody need be asked."""
    yield from ()
    return reply


def _passed_on(asked: Asked) -> Resolution:
    """RFC 6147 5.3.3: the name servers' reply, whatever it is."""
    if not asked.recursion:
        return Reply(dns.EREFUSED)
    return (yield Ask(asked.name, asked.kind, asked.cls))


def _followed(ask: Ask) -> Resolution:
    """RFC 6147 5.1.5: the name servers' reply, to the end of the aliases, which they may have left to us."""
    reply = yield ask
    answers = _of_class_in(reply)
    for _ in range(CHAIN_LIMIT):
        end, _aliases = chain(answers, ask.name, ask.kind)
        if reply.code != dns.OK or is_same(end, ask.name) or _ends(answers, end, ask.kind) or _has_soa(reply):
            return reply._replace(answers=answers)
        further = yield Ask(end, ask.kind)
        fresh = [each for each in _of_class_in(further) if not _holds(answers, each)]
        answers += fresh
        reply = further
        if not fresh:
            return reply._replace(answers=answers)
    return Reply(dns.ESERVER)


# ---------------------------------------------------------------- records


def chain(records: Iterable[dns.RRHeader], name: Name, kind: int) -> tuple[Name, list[dns.RRHeader]]:
    """
    Follow the aliases from a name on (RFC 1034 3.6.2, RFC 6672).

    @return: where they end, and they themselves, with their signatures; a CNAME for each DNAME that came without one.
    """
    own = list(records)
    passed: list[dns.RRHeader] = []
    for _ in range(CHAIN_LIMIT):
        if _ends(own, name, kind):
            break
        step = _aliases_of(own, name)
        target = next((target_of(each) for each in step if each.type == dns.CNAME), None)
        if target is None or any(_holds(passed, each) for each in step):
            break
        passed += step
        name = target
    return name, passed


def _of_class_in(reply: Reply) -> list[dns.RRHeader]:
    """Records of another class may have data of any form."""
    return [each for each in reply.answers if each.cls == dns.IN]


def _aliases_of(records: list[dns.RRHeader], name: Name) -> list[dns.RRHeader]:
    """What renames a name: a CNAME, and the DNAME that it may come from."""
    dname = [each for each in records if _is(each, dns.DNAME) and is_below(name, each.name.name)]
    cname = [each for each in records if _is(each, dns.CNAME) and is_same(each.name.name, name)]
    if dname and not cname:
        first = next(each for each in dname if each.type == dns.DNAME)
        target = moved(name, first.name.name, target_of(first))
        cname = [] if target is None else [alias_of(name, first.ttl, target)]
    return dname + cname


def _is(record: dns.RRHeader, kind: int) -> bool:
    """Of that type, or its signature."""
    return kind in (record.type, covers(record))


def _ends(records: Iterable[dns.RRHeader], name: Name, kind: int) -> bool:
    return any(each.type == kind and is_same(each.name.name, name) for each in records)


def _holds(records: list[dns.RRHeader], record: dns.RRHeader) -> bool:
    return any(
        each.type == record.type and is_same(each.name.name, record.name.name) and data_of(each) == data_of(record)
        for each in records
    )


def _has_soa(reply: Reply) -> bool:
    """Whether a reply says that there is nothing more (RFC 2308 2.2)."""
    return any(each.type == dns.SOA for each in reply.authority)


def _aliases_alone(reply: Reply) -> Reply:
    """Without any address, whatever a reply to a question for A has beside them."""
    return reply._replace(answers=[each for each in reply.answers if not (_is(each, dns.A) or _is(each, dns.AAAA))])


def _negative_ttl(reply: Reply) -> int:
    """RFC 6147 5.1.7: how long it holds that there is no AAAA record."""
    soas = [each.ttl for each in reply.authority if each.type == dns.SOA] if reply.code == dns.OK else []
    return soas[0] if soas else TTL_LIMIT
