# SPDX-License-Identifier: MIT
"""Strategies for the values that the codecs take."""

from hypothesis import settings
from hypothesis import strategies as st

from miredo.address.scope import is_unicast
from miredo.wire.encapsulation import Authentication, Encapsulated
from miredo.wire.icmpv6 import (
    DestinationUnreachable,
    EchoReply,
    EchoRequest,
    ICMPv6Message,
    OtherICMPv6,
    PacketTooBig,
    PrefixInformation,
    RouterAdvertisement,
    RouterSolicitation,
)
from miredo.wire.ipv4 import IPv4Packet
from miredo.wire.ipv6 import IPv6Packet, emit_ipv6
from miredo.wire.trailers import (
    AlternateAddressTrailer,
    NeighborDiscoveryTrailer,
    NonceTrailer,
    RandomPortTrailer,
    Trailer,
)
from miredo.wire.udp import UDPDatagram

patient = settings(deadline=None)
"""A property is a fact on a slow and busy machine too."""

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFF_FFFF)
ipv4 = st.binary(min_size=4, max_size=4)
ipv6 = st.binary(min_size=16, max_size=16)
endpoints = st.binary(min_size=6, max_size=6)

ipv6_packets: st.SearchStrategy[IPv6Packet] = st.builds(
    IPv6Packet, u8, st.integers(0, 0xFFFFF), u8, u8, ipv6, ipv6, st.binary(max_size=200)
)

ipv4_packets: st.SearchStrategy[IPv4Packet] = st.builds(
    IPv4Packet,
    u8,
    u16,
    st.booleans(),
    st.booleans(),
    st.integers(0, 0x1FFF),
    u8,
    u8,
    ipv4,
    ipv4,
    st.binary(max_size=200),
    st.integers(0, 10).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words)),
)

udp_datagrams: st.SearchStrategy[UDPDatagram] = st.builds(UDPDatagram, u16, u16, st.binary(max_size=200))

prefixes: st.SearchStrategy[PrefixInformation] = st.builds(PrefixInformation, st.integers(0, 128), u8, u32, u32, ipv6)

quotes = st.binary(max_size=1232)

icmpv6_messages: st.SearchStrategy[ICMPv6Message] = st.one_of(
    st.builds(RouterSolicitation, st.sampled_from([b"", bytes.fromhex("0101020304050607"), b"\x7f\x02" + bytes(14)])),
    st.builds(RouterAdvertisement, u8, u8, u16, u32, u32, st.lists(prefixes, max_size=3).map(tuple), st.none() | u32),
    st.builds(EchoRequest, u16, u16, st.binary(max_size=100)),
    st.builds(EchoReply, u16, u16, st.binary(max_size=100)),
    st.builds(DestinationUnreachable, u8, quotes),
    st.builds(PacketTooBig, u32, quotes),
    st.builds(OtherICMPv6, u8.filter(lambda kind: kind not in {1, 2, 128, 129, 133, 134}), u8, st.binary(max_size=100)),
)

authentications: st.SearchStrategy[Authentication] = st.builds(
    Authentication, st.binary(max_size=255), st.binary(max_size=255), st.binary(min_size=8, max_size=8), u8
)

encapsulated: st.SearchStrategy[Encapsulated] = st.builds(
    Encapsulated,
    st.none() | authentications,
    st.none() | endpoints,
    ipv6_packets.map(emit_ipv6),
    st.binary(max_size=60),
)

alternates = endpoints.filter(lambda endpoint: is_unicast(endpoint[:4]) and endpoint[4:] != bytes(2))

trailers: st.SearchStrategy[Trailer] = st.one_of(
    st.builds(NonceTrailer, st.binary(min_size=4, max_size=4)),
    st.builds(AlternateAddressTrailer, st.lists(alternates, min_size=1, max_size=4).map(tuple)),
    st.builds(NeighborDiscoveryTrailer, st.booleans()),
    st.builds(RandomPortTrailer, u16),
)
