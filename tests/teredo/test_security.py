# SPDX-License-Identifier: MIT
"""Secure qualification: what a secret proves on both sides, byte for byte as in the vectors, and what it keeps out."""

import hashlib
import hmac
from dataclasses import replace

import pytest

from miredo.address.scope import IPv4Scope
from miredo.teredo.actions import PRIMARY, Action, Qualified, SecretExpiring, SendDatagram
from miredo.teredo.client import Client
from miredo.teredo.drops import Drop
from miredo.teredo.security import KEY_EXPIRING, KEY_VALID, Algorithm, Credential, Keyring
from miredo.teredo.server import Server
from miredo.wire.encapsulation import parse_encapsulation
from tests.teredo.cores import (
    MAPPED,
    PRIMARY_ENDPOINT,
    SECONDARY_ENDPOINT,
    advertisement,
    dropped,
    only,
    rolled,
    sent,
    solicitation_nonce,
)
from tests.teredo.cores import SERVER as ADDRESSES
from tests.wire.vectors import MAPPED_A, NONCE, VECTORS

CREDENTIAL = Credential(b"client-7", b"correct horse battery staple")
OTHER = Credential(b"client-8", b"incorrect horse")
RS = parse_encapsulation(VECTORS["rs_vista"]).packet
RA = parse_encapsulation(VECTORS["ra_origin"]).packet


def server(*credentials: Credential, required: bool = False) -> Server:
    return Server(ADDRESSES, IPv4Scope(), keyring=Keyring(credentials), secrets_required=required)


def secure_client(credential: Credential = CREDENTIAL) -> Client:
    return Client([ADDRESSES], IPv4Scope(), rolled(), credential=credential)


def met(client: Client, core: Server) -> list[Action]:
    """What a client makes of the server's answer to its first solicitation."""
    ((solicitation, _),) = sent(client.start(0.0))
    ((answer, _),) = sent(core.receive(solicitation, MAPPED, PRIMARY, 0.0))
    return client.receive(answer, PRIMARY_ENDPOINT, 0.0)


# ---------------------------------------------------------------- the vectors


@pytest.mark.requirement("C2", "A1")
@pytest.mark.parametrize(
    ("algorithm", "vector"), [(Algorithm.HMAC_SHA1, "rs_secure_sha1"), (Algorithm.HMAC_MD5, "rs_secure_md5")]
)
def test_a_protected_solicitation_is_that_of_the_vectors(algorithm: Algorithm, vector: str) -> None:
    assert replace(CREDENTIAL, algorithm=algorithm).protect(NONCE, KEY_VALID, RS) == VECTORS[vector]


@pytest.mark.requirement("S18")
@pytest.mark.parametrize(("expiring", "vector"), [(False, "ra_secure_sha1"), (True, "ra_secure_sha1_conf1")])
def test_a_protected_solicitation_is_answered_byte_for_byte(expiring: bool, vector: str) -> None:
    core = server(replace(CREDENTIAL, expiring=expiring), required=True)
    assert core.receive(VECTORS["rs_secure_sha1"], MAPPED_A, PRIMARY, 0.0) == [
        SendDatagram(VECTORS[vector], MAPPED_A, PRIMARY)
    ]


@pytest.mark.requirement("C2", "A1")
@pytest.mark.parametrize("algorithm", Algorithm)
def test_each_algorithm_is_the_hmac_of_its_name(algorithm: Algorithm) -> None:
    origin_and_packet = VECTORS["ra_origin"]
    expected = hmac.new(
        CREDENTIAL.secret,
        NONCE + b"\x00" + origin_and_packet,
        {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "md5": hashlib.md5}[algorithm.removeprefix("hmac-")],
    ).digest()
    datagram = replace(CREDENTIAL, algorithm=algorithm).protect(NONCE, KEY_VALID, RA, MAPPED_A)
    authentication = parse_encapsulation(datagram).authentication
    assert authentication is not None
    assert authentication.value == expected
    assert datagram.endswith(NONCE + b"\x00" + origin_and_packet)


# ---------------------------------------------------------------- a server


@pytest.mark.requirement("S5", "T16")
@pytest.mark.parametrize("position", range(4 + len(CREDENTIAL.identifier), 89))
def test_a_flipped_bit_anywhere_is_dropped(position: int) -> None:
    """In the value, the nonce, the confirmation byte or the packet."""
    damaged = bytearray(VECTORS["rs_secure_sha1"])
    damaged[position] ^= 0x10
    core = server(CREDENTIAL, required=True)
    assert core.receive(bytes(damaged), MAPPED_A, PRIMARY, 0.0) == []


@pytest.mark.requirement("S5")
@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("credential", [OTHER, replace(CREDENTIAL, secret=b"x"), replace(CREDENTIAL, identifier=b"y")])
def test_a_wrong_or_unknown_secret_is_dropped(credential: Credential, required: bool) -> None:
    core = server(CREDENTIAL, required=required)
    assert core.receive(credential.protect(NONCE, KEY_VALID, RS), MAPPED_A, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.BAD_AUTHENTICATION: 1}


@pytest.mark.requirement("S5")
@pytest.mark.parametrize("vector", ["rs_vista", "rs_vista_auth", "rs_cone"])
def test_where_secrets_are_required_a_client_without_one_is_not_answered(vector: str) -> None:
    core = server(CREDENTIAL, required=True)
    assert core.receive(VECTORS[vector], MAPPED_A, PRIMARY, 0.0) == []
    assert dropped(core) == {Drop.NO_AUTHENTICATION: 1}


@pytest.mark.requirement("S5", "S19")
def test_where_secrets_are_not_required_others_are_answered_as_ever() -> None:
    core = server(CREDENTIAL)
    for vector, answer in (("rs_vista", "ra_origin"), ("rs_vista_auth", "ra_auth_origin")):
        assert sent(core.receive(VECTORS[vector], MAPPED_A, PRIMARY, 0.0)) == [(VECTORS[answer], MAPPED_A)]


def test_a_server_without_secrets_answers_with_the_nonce_alone_as_c_miredo_does() -> None:
    assert sent(server().receive(VECTORS["rs_secure_sha1"], MAPPED_A, PRIMARY, 0.0)) == [
        (VECTORS["ra_auth_origin"], MAPPED_A)
    ]


def test_a_decoy_opens_nothing() -> None:
    """An identifier that is not known is compared with a secret that anybody may guess, and refused all the same."""
    for secret in (bytes(32), b""):
        core = server(CREDENTIAL, required=True)
        forged = Credential(b"nobody", secret).protect(NONCE, KEY_VALID, RS)
        assert core.receive(forged, MAPPED_A, PRIMARY, 0.0) == []


# ---------------------------------------------------------------- a client


@pytest.mark.requirement("C2", "C10")
@pytest.mark.parametrize("algorithm", Algorithm)
def test_client_and_server_that_share_a_secret_agree(algorithm: Algorithm) -> None:
    credential = replace(CREDENTIAL, algorithm=algorithm)
    client = secure_client(credential)
    (qualified, _) = met(client, server(OTHER, credential, required=True))
    assert isinstance(qualified, Qualified)
    assert client.address == qualified.address


@pytest.mark.requirement("C2")
def test_the_secondary_address_is_asked_with_the_secret_too() -> None:
    core = server(CREDENTIAL, required=True)
    _, probe = met(secure_client(), core)
    assert isinstance(probe, SendDatagram)
    assert probe.to == SECONDARY_ENDPOINT
    assert len(core.receive(probe.payload, MAPPED, PRIMARY, 0.0)) == 1


@pytest.mark.requirement("C10")
def test_an_answer_without_a_proof_is_no_answer() -> None:
    client = secure_client()
    ((solicitation, _),) = sent(client.start(0.0))
    assert client.receive(advertisement(solicitation_nonce(solicitation)), PRIMARY_ENDPOINT, 0.0) == []
    assert (client.address, dropped(client)) == (None, {Drop.BAD_AUTHENTICATION: 1})


@pytest.mark.requirement("C10", "T16")
def test_a_flipped_bit_in_the_answer_makes_it_none() -> None:
    ((answer, _),) = sent(server(CREDENTIAL).receive(sent(secure_client().start(0.0))[0][0], MAPPED, PRIMARY, 0.0))
    for position in range(len(answer)):
        client = secure_client()  # the same dice, so the same nonce
        client.start(0.0)
        damaged = answer[:position] + bytes([answer[position] ^ 0x01]) + answer[position + 1 :]
        client.receive(damaged, PRIMARY_ENDPOINT, 0.0)
        assert client.address is None, position
    client = secure_client()
    client.start(0.0)
    client.receive(answer, PRIMARY_ENDPOINT, 0.0)
    assert client.address is not None


@pytest.mark.requirement("C11")
def test_a_secret_that_is_to_be_replaced_is_told_once_and_used_meanwhile() -> None:
    client, core = secure_client(), server(replace(CREDENTIAL, expiring=True), required=True)
    assert only(SecretExpiring, met(client, core)) == [SecretExpiring(PRIMARY_ENDPOINT)]
    address = client.address
    assert only(SecretExpiring, met(client, core)) == []
    assert client.address == address is not None
    renewed = server(CREDENTIAL, required=True)
    assert only(SecretExpiring, met(client, renewed)) == []
    assert only(SecretExpiring, met(client, core)) == [SecretExpiring(PRIMARY_ENDPOINT)]


# ---------------------------------------------------------------- what shows


@pytest.mark.requirement("C2")
def test_a_secret_does_not_show() -> None:
    for text in (repr(CREDENTIAL), str(CREDENTIAL), f"{CREDENTIAL}"):
        assert "horse" not in text
    assert (KEY_VALID, KEY_EXPIRING) == (0, 1)
