# SPDX-License-Identifier: MIT
"""On real sockets, in a namespace: UDP and TCP over both IPs, name servers over TCP and TLS, good ones and bad ones."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv6Network
from pathlib import Path
from random import Random

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IListeningPort, IOpenSSLContextFactory, IReactorSSL, IReactorTCP, IReactorUDP
from twisted.internet.protocol import DatagramProtocol, Factory, ServerFactory
from twisted.names import dns

from miredo.address.rfc6052 import parse_prefix
from miredo.dns64.config import LOOPBACK, Dns64Config, NameServer, Place, Pref64
from miredo.dns64.drops import Drop
from miredo.dns64.framing import MessageStream
from miredo.dns64.message import Edns, emit_message, parse_message
from miredo.dns64.query import UDP_SIZE
from miredo.dns64.server import PIPELINE, Dns64Server
from miredo.dns64.tls import verified_as
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from tests.dns64.certificates import CertificateAuthority, new_authority
from tests.dns64.upstream import Authority, AuthorityOverTCP, AuthorityOverUDP, ask, make
from tests.namespaced import descriptors_closed, install_reactor, pause, run_reactor, until

pytestmark = pytest.mark.namespaced

LINES = (("v4.test", dns.A, "198.51.100.1"), ("v6.test", dns.AAAA, "2001:db8::1"))
UPSTREAM = "127.0.0.53"
CONFIG = Dns64Config(
    name_servers=(NameServer(address=UPSTREAM),),
    listen=(Place(address="::1", port=5353), Place(address="127.0.0.1", port=5353)),
    prefixes=(Pref64(prefix=parse_prefix("2001:db8:64::/96")),),
    clients=LOOPBACK,
    hosts=None,
    stream_idle=0.3,
)


class TCPClient(MessageStream):
    """A client over TCP."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[dns.Message] = []
        self.ended = False

    def message_received(self, octets: bytes) -> None:
        self.answers.append(parse_message(octets))

    def connectionLost(self, reason: object = None) -> None:
        self.ended = True


class MuteClient(TCPClient):
    """Somebody who takes anything."""

    def dataReceived(self, data: bytes) -> None:
        del data


class UDPClient(DatagramProtocol):
    """A client over UDP."""

    noisy = False

    def __init__(self) -> None:
        self.octets: list[bytes] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.octets.append(datagram)


class Far:
    """
    The name server, on the loopback: over UDP, TCP, and TLS if it has a certificate.

    @ivar udp: with C{tcp}, its two sides.
    """

    def __init__(self, identity: Path | None = None) -> None:
        self.authority = Authority(LINES)
        self.udp, self.tcp = AuthorityOverUDP(self.authority), AuthorityOverTCP(self.authority)
        reactor = install_reactor()
        tcp = IReactorTCP(reactor).listenTCP
        self.ports = [
            IReactorUDP(reactor).listenUDP(53, self.udp, UPSTREAM, 8192),
            tcp(53, self.tcp, interface=UPSTREAM),
        ]
        if identity is not None:
            self.ports.append(IReactorSSL(reactor).listenSSL(853, self.tcp, _context(identity), interface=UPSTREAM))

    async def close(self) -> None:
        for port in self.ports:
            await maybeDeferred(IListeningPort(port).stopListening)
        for connection in tuple(self.tcp.connections):
            connection.abort()
        await until(lambda: self.tcp.connections == [])


def _context(identity: Path) -> IOpenSSLContextFactory:
    from twisted.internet.ssl import DefaultOpenSSLContextFactory

    make_context: Callable[[str, str], IOpenSSLContextFactory] = DefaultOpenSSLContextFactory
    return make_context(str(identity), str(identity))


def up() -> None:
    """Let the loopback have addresses."""
    network = KernelEndpoints(None, install_reactor()).network()
    index = network.index_of("lo")
    assert index is not None
    network.set_up(index)
    network.close()


Body = Callable[[Dns64Server, Far], Awaitable[None]]


def new_server(config: Dns64Config) -> Dns64Server:
    reactor = install_reactor()
    return Dns64Server(config, KernelEndpoints(None, reactor), reactor, BoottimeClock(reactor), Random(1).randbytes)


async def warmed_up() -> None:
    """Twisted keeps a descriptor from the first TCP port on."""
    port = IReactorTCP(install_reactor()).listenTCP(5354, Quiet(), interface="127.0.0.1")
    await maybeDeferred(IListeningPort(port).stopListening)


class Quiet(ServerFactory):
    noisy = False


def run(body: Body, config: Dns64Config = CONFIG, identity: Path | None = None) -> None:
    """Run a body with a server and a name server, of which nothing may be left, no descriptor either."""
    up()

    async def living() -> None:
        await warmed_up()
        with descriptors_closed():
            far = Far(identity)
            server = new_server(config)
            server.open()
            try:
                await body(server, far)
            finally:
                await server.close()
                await far.close()
                await pause(0.01)

    run_reactor(living())


async def by_udp(octets: bytes, address: str) -> dns.Message:
    client = UDPClient()
    own = "::1" if ":" in address else "127.0.0.1"
    port = IReactorUDP(install_reactor()).listenUDP(0, client, own, 8192)
    assert client.transport is not None
    client.transport.write(octets, (address, 5353))
    await until(lambda: client.octets != [])
    await maybeDeferred(IListeningPort(port).stopListening)
    return parse_message(client.octets[0])


async def connected(address: str = "::1") -> TCPClient:
    kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
    client = await kind(install_reactor(), address, 5353).connect(Factory.forProtocol(TCPClient))
    assert isinstance(client, TCPClient)
    return client


async def by_tcp(octets: bytes, address: str = "::1") -> dns.Message:
    client = await connected(address)
    client.send(octets)
    await until(lambda: client.answers != [])
    client.abort()
    await until(lambda: client.ended)
    return client.answers[0]


def addresses(message: dns.Message) -> list[int]:
    return [record.type for record in message.answers]


@pytest.mark.parametrize("address", ["::1", "127.0.0.1"])
def test_both_transports_answer_over_both_ips(address: str) -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        for asking in (by_udp, by_tcp):
            assert addresses(await asking(ask("v4.test"), address)) == [dns.AAAA]
        assert server.ports == [5353, 5353]

    run(body)


def long_answer(far: Far) -> None:
    far.authority.records += [make("long.test", dns.TXT, "x" * 200 + str(number)) for number in range(20)]
    far.udp.sent = lambda message: [emit_message(message, UDP_SIZE)]


def test_an_answer_that_is_cut_short_is_fetched_and_given_over_tcp() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        long_answer(far)
        cut = await by_udp(ask("long.test", dns.TXT, edns=Edns(4096)), "::1")
        assert (cut.trunc, cut.answers) == (1, [])
        whole = await by_tcp(ask("long.test", dns.TXT))
        assert (whole.trunc, len(whole.answers)) == (0, 20)
        assert len(far.authority.asked) == 2  # over UDP and TCP, once each

    run(body)


def test_a_server_that_does_not_keep_letters_is_asked_over_tcp() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        def lower(asked: dns.Message, answer: dns.Message) -> None:
            answer.queries = parse_message(ask(asked.queries[0].name.name.lower(), asked.queries[0].type)).queries

        far.authority.change = lower
        assert addresses(await by_udp(ask("v6.test"), "::1")) == [dns.AAAA]
        assert server.drops == {Drop.MISCASED: 1}

    run(body)


def test_a_connection_to_a_name_server_is_kept_and_then_closed() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        long_answer(far)
        for kind in (dns.TXT, dns.MX):
            far.udp.sent = lambda message: [emit_message(message, 12)]
            await by_tcp(ask("long.test", kind))
            assert len(far.tcp.connections) == 1
        await until(lambda: far.tcp.connections == [])

    run(body)


def test_a_kept_connection_that_is_none_is_made_anew() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        far.udp.sent = lambda message: [emit_message(message, 12)]
        await by_tcp(ask("a.test", dns.MX))
        (kept,) = far.tcp.connections
        far.tcp.connections.remove(kept)
        far.tcp.connections.append(kept)
        kept.abort()
        assert (await by_tcp(ask("b.test", dns.MX))).rCode == dns.ENAME

    run(body)


def test_a_kept_connection_that_ends_at_the_next_question_is_made_anew() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        far.udp.sent = lambda message: [emit_message(message, 12)]
        await by_tcp(ask("a.test", dns.MX))
        (kept,) = far.tcp.connections

        def leave(message: dns.Message) -> list[bytes]:
            kept.abort()
            far.tcp.sent = lambda message: [emit_message(message)]
            return []

        far.tcp.sent = leave
        assert (await by_tcp(ask("b.test", dns.MX))).rCode == dns.ENAME
        assert [name for name, _ in far.authority.asked] == ["a.test"] * 2 + ["b.test"] * 3

    run(body)


def test_an_answer_over_tcp_to_something_else_is_passed_over() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        far.udp.sent = lambda message: [emit_message(message, 12)]

        def strange(message: dns.Message) -> list[bytes]:
            right = emit_message(message)
            other = parse_message(right)
            other.queries[0].type = dns.A
            message.id ^= 1
            return [emit_message(message), emit_message(other), right]

        far.tcp.sent = strange
        assert (await by_udp(ask("a.test", dns.MX), "::1")).rCode == dns.ENAME
        assert server.drops == {Drop.STRANGER: 2}

    run(body)


def test_a_name_server_without_tcp_is_one_that_failed() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        far.udp.sent = lambda message: [emit_message(message, 12)]
        await maybeDeferred(IListeningPort(far.ports.pop(1)).stopListening)
        assert (await by_udp(ask("a.test", dns.MX), "::1")).rCode == dns.ESERVER

    run(body)


@pytest.mark.parametrize("octets", [b"\xff" * 40, b"", b"\0" * 12], ids=["garbage", "nothing", "zeros"])
def test_a_name_server_that_says_nonsense_over_tcp_is_one_that_failed(octets: bytes) -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        far.udp.sent = lambda message: [emit_message(message, 12)]
        far.tcp.sent = lambda message: [message.id.to_bytes(2, "big") + octets]
        assert (await by_udp(ask("a.test", dns.MX), "::1")).rCode == dns.ESERVER
        assert sum(server.drops.values()) == 2

    run(body, replace(CONFIG, stream_patience=0.3))


# ---------------------------------------------------------------- clients over TCP


def test_several_questions_of_a_connection_are_under_way_at_a_time() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        client = await connected()
        count = PIPELINE * 3
        for number in range(count):
            client.send(ask(f"n{number}.test", dns.MX, identifier=number))
        await until(lambda: len(client.answers) == count)
        assert sorted(message.id for message in client.answers) == list(range(count))
        client.abort()
        await until(lambda: client.ended)

    run(body)


def test_a_connection_on_which_nothing_happens_is_ended() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        clients = [await connected() for _ in range(3)]
        clients[0].send(b"")
        assert clients[1].transport is not None
        clients[1].transport.write(b"\0\x20abc")
        await until(lambda: all(client.ended for client in clients))
        assert server.drops == {Drop.NOT_A_QUESTION: 1}

    run(body)


def test_no_more_connections_than_allowed() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        first, second = await connected(), await connected()
        await until(lambda: second.ended)
        first.send(ask("v4.test"))
        await until(lambda: first.answers != [])
        assert server.drops == {Drop.CONNECTIONS: 1}
        first.abort()
        await until(lambda: first.ended)
        assert addresses(await by_tcp(ask("v4.test"))) == [dns.AAAA]

    run(body, replace(CONFIG, connections=1))


def test_a_client_that_goes_takes_its_questions_with_it() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        far.udp.sent = lambda message: []
        client = await connected()
        client.send(ask("v4.test"))
        await until(lambda: far.authority.asked != [])
        client.abort()
        await until(lambda: client.ended)
        assert (await by_tcp(ask("ipv4only.arpa", dns.A))).rCode == dns.OK

    run(body)


def test_a_client_that_does_not_read_is_not_read_from() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        far.authority.records += [make("big.test", dns.TXT, "x" * 60000)]
        far.udp.sent = lambda message: [emit_message(message, 12)]
        with socket.create_connection(("127.0.0.1", 5353)) as deaf:
            deaf.setblocking(False)
            question = ask("big.test", dns.TXT)
            sent = 0
            for _ in range(2000):
                try:
                    sent += deaf.send(len(question).to_bytes(2, "big") + question)
                except BlockingIOError:
                    break
                await pause(0)
            await pause(0.2)
            assert sum(server.responder.replies.values()) < 1000
            await until(lambda: server.responder.replies[dns.OK] > PIPELINE)
        await pause(0.05)

    run(body)


def test_an_address_that_is_taken_is_an_error_that_names_it() -> None:
    up()
    reactor = install_reactor()

    async def body() -> None:
        taken = IReactorTCP(reactor).listenTCP(5353, Quiet(), interface="127.0.0.1")
        server = new_server(CONFIG)
        with pytest.raises(OSError, match=r"TCP 127\.0\.0\.1 port 5353: .*Address already in use"):
            server.open()
        await server.close()
        await maybeDeferred(IListeningPort(taken).stopListening)
        others = replace(CONFIG, listen=(Place(address="2001:db8::1"),))
        server = new_server(others)
        with pytest.raises(OSError, match=r"UDP 2001:db8::1 port 53: .*Cannot assign"):
            server.open()
        await server.close()

    run_reactor(body())


# ---------------------------------------------------------------- TLS


def over_tls(folder: Path, name: str, *authorities: bytes) -> Dns64Config:
    file = folder / "authorities.pem"
    file.write_bytes(b"\n".join(authorities))
    servers = (NameServer(address=UPSTREAM, tls_name=name),)
    return replace(CONFIG, name_servers=servers, authorities=str(file), stream_patience=1.0)


def identified(folder: Path, authority: CertificateAuthority, *names: str) -> Path:
    """A file with a certificate for these names and its key."""
    file = folder / "identity.pem"
    file.write_bytes(authority.identity(*names))
    return file


@pytest.mark.parametrize("name", ["dns.test", UPSTREAM])
def test_a_name_server_over_tls_is_asked_on_one_connection(tmp_path: Path, name: str) -> None:
    ours = new_authority()

    async def body(server: Dns64Server, far: Far) -> None:
        for _ in range(2):
            assert addresses(await by_udp(ask("v4.test"), "::1")) == [dns.AAAA]
        assert addresses(await by_udp(ask("v6.test"), "::1")) == [dns.AAAA]
        assert (len(far.tcp.connections), far.udp.askers) == (1, [])

    config = over_tls(tmp_path, name, new_authority("another").pem, ours.pem)
    run(body, config, identified(tmp_path, ours, "dns.test", UPSTREAM))


@pytest.mark.parametrize(
    ("name", "identities"),
    [("dns.test", ["other.test"]), ("127.0.0.1", ["dns.test", UPSTREAM]), ("dns.test", ["*.dns.test"])],
)
def test_a_name_server_that_says_another_name_is_not_asked(tmp_path: Path, name: str, identities: list[str]) -> None:
    ours = new_authority()

    async def body(server: Dns64Server, far: Far) -> None:
        assert (await by_udp(ask("v4.test"), "::1")).rCode == dns.ESERVER
        assert (far.authority.asked, far.udp.askers) == ([], [])
        await until(lambda: far.tcp.connections == [])

    run(body, over_tls(tmp_path, name, ours.pem), identified(tmp_path, ours, *identities))


def test_a_name_server_that_nobody_trusted_signed_is_not_asked(tmp_path: Path) -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        assert (await by_udp(ask("v4.test"), "::1")).rCode == dns.ESERVER
        assert far.authority.asked == []

    config = over_tls(tmp_path, "dns.test", new_authority("somebody else").pem)
    run(body, config, identified(tmp_path, new_authority(), "dns.test"))


def test_a_name_server_over_tls_that_is_silent_is_given_up_and_asked_anew(tmp_path: Path) -> None:
    ours = new_authority()

    async def body(server: Dns64Server, far: Far) -> None:
        far.tcp.silent = True
        assert (await by_udp(ask("a.test", dns.MX), "::1")).rCode == dns.ESERVER
        await until(lambda: far.tcp.connections == [])
        far.tcp.silent = False
        assert addresses(await by_udp(ask("v6.test"), "::1")) == [dns.AAAA]

    config = replace(over_tls(tmp_path, "dns.test", ours.pem), stream_patience=0.3)
    run(body, config, identified(tmp_path, ours, "dns.test"))


def test_a_handshake_that_never_comes_is_given_up(tmp_path: Path) -> None:
    """Something that takes connections and knows no TLS."""

    async def body(server: Dns64Server, far: Far) -> None:
        accepted: list[TCPClient] = []

        class Mute(Quiet):
            def buildProtocol(self, addr: object) -> TCPClient:
                accepted.append(MuteClient())
                return accepted[-1]

        port = IReactorTCP(install_reactor()).listenTCP(853, Mute(), interface=UPSTREAM)
        assert (await by_udp(ask("a.test", dns.MX), "::1")).rCode == dns.ESERVER
        await until(lambda: bool(accepted) and all(each.ended for each in accepted))
        await maybeDeferred(IListeningPort(port).stopListening)

    config = replace(over_tls(tmp_path, "dns.test", new_authority().pem), stream_patience=0.3)
    run(body, config)


def test_a_connection_that_is_never_made_is_given_up(tmp_path: Path) -> None:
    """To an address that swallows packets, and the server is closed while it tries."""
    folder = over_tls(tmp_path, "dns.test", new_authority().pem)
    config = replace(folder, name_servers=(NameServer(address="127.0.0.99", tls_name="dns.test"),), stream_patience=0.3)

    async def body(server: Dns64Server, far: Far) -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.99", 853))
            full.listen(0)
            with socket.create_connection(("127.0.0.99", 853)), socket.socket() as more:
                more.setblocking(False)
                more.connect_ex(("127.0.0.99", 853))
                assert (await by_udp(ask("a.test", dns.MX), "::1")).rCode == dns.ESERVER
                pending: Deferred[bytes | None] = server.responder.respond(ask("b.test", dns.MX), "::1", stream=False)
                await pause(0.05)
                await server.close()
                assert await pending is None

    run(body, config)


@pytest.mark.parametrize("text", [b"", b"-----BEGIN CERTIFICATE-----\nabcd\n-----END CERTIFICATE-----\n"])
def test_authorities_that_are_none_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="authorities"):
        verified_as("dns.test", text)


def test_a_connection_from_elsewhere_is_refused() -> None:
    async def body(server: Dns64Server, far: Far) -> None:
        assert (await by_tcp(ask("v4.test"), "127.0.0.1")).rCode == dns.EREFUSED

    run(body, replace(CONFIG, clients=(IPv6Network("::1/128"),)))
