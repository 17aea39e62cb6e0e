# SPDX-License-Identifier: MIT
"""Addresses, commands and replies are read and written as the RFCs have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miredo.address.endpoint import endpoint, parse_endpoint, parse_ipv6, show_ipv6
from miredo.faith.ftpwords import (
    ClientPort,
    Command,
    IllegalParameterError,
    ReplyStart,
    UnsupportedFamilyError,
    extended_port_in,
    host_port_in,
    is_last_line,
    parse_command,
    parse_extended,
    parse_long,
    parse_reply_start,
    passive_endpoint,
    show_host_port,
    show_passive,
    with_word,
)

ADDRESS = parse_ipv6("1080::8:800:200c:417a")
PORTS = st.integers(1, 0xFFFF)
ADDRESSES = st.binary(min_size=16, max_size=16)
PRINTABLE = st.sampled_from([bytes((byte,)) for byte in range(33, 127) if chr(byte) not in "0123456789abcdef:."])


def test_the_examples_of_the_rfcs_are_understood() -> None:
    assert parse_extended(b"|2|1080::8:800:200C:417A|5282|") == ClientPort(ADDRESS, 5282)
    assert extended_port_in(b" Entering Extended Passive Mode (|||6446|)") == 6446
    assert host_port_in(b" Entering Passive Mode (192,0,2,31,237,19)") == parse_endpoint("192.0.2.31:60691")
    assert show_host_port(parse_endpoint("192.0.2.31:5282")) == b"192,0,2,31,20,162"
    assert show_passive(b"EPSV", ADDRESS, 60691) == b"229 Entering Extended Passive Mode (|||60691|)\r\n"


@given(ADDRESSES, PORTS, PRINTABLE)
def test_every_address_gets_through_eprt_with_every_delimiter(address: bytes, port: int, delimiter: bytes) -> None:
    fields = (b"", b"2", show_ipv6(address).encode(), b"%d" % port, b"")
    assert parse_extended(delimiter.join(fields)) == ClientPort(address, port)


@given(ADDRESSES, PORTS)
def test_every_address_gets_through_lprt_as_through_the_answer_to_lpsv(address: bytes, port: int) -> None:
    answer = show_passive(b"LPSV", address, port)
    assert parse_long(answer[answer.index(b"(") + 1 : answer.index(b")")]) == ClientPort(address, port)


@given(st.binary(min_size=4, max_size=4), PORTS)
def test_every_endpoint_gets_through_227(host: bytes, port: int) -> None:
    at = endpoint(host, port)
    for text in (b" ok (%b).", b"%b", b" =%b", b" at %b then"):
        assert host_port_in(text % show_host_port(at)) == at


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" (1,2,3,4,5)",
        b" (1,2,3,4,5,6,7)",
        b" (256,2,3,4,5,6)",
        b" (1,2,3,4,0,0)",
        b" (1;2;3;4;5;6)",
        b" (1111,2,3,4,5,6)",
        b" (1,2,3,4,5,6666)",
    ],
)
def test_what_is_no_endpoint_is_none(text: bytes) -> None:
    assert host_port_in(text) is None


def test_the_first_endpoint_that_can_be_one_is_taken() -> None:
    assert host_port_in(b" (999,2,3,4,5,6) 1, 2, 3, 4, 5, 6") == bytes((1, 2, 3, 4, 5, 6))


@pytest.mark.parametrize("text", [b"", b"(||5|)", b"(|||0|)", b"(|||65536|)", b"|||5|", b"(||!5|)", b"(   5 )"])
def test_what_is_no_extended_port_is_none(text: bytes) -> None:
    assert extended_port_in(text) is None
    assert passive_endpoint(bytes(4), text, extended=True) is None


@pytest.mark.parametrize(
    "parameter",
    [
        b"",
        b"|",
        b"|2|::1|5",
        b"|2|::1|5||",
        b"x|2|::1|5|",
        b" 2 ::1 5 ",
        b"|2|::1%eth0|5|",
        b"|2|192.0.2.1|5|",
        b"|2|::1|0|",
        b"|2|::1|65536|",
        b"|2|::1|-5|",
        b"|2|::1|5 |",
        b"|2|\xd9\xa1::|5|",
        b"||::1|5|",
        b"|two|::1|5|",
        b"|2|::1|" + b"9" * 5000 + b"|",
    ],
)
def test_a_malformed_eprt_is_illegal(parameter: bytes) -> None:
    with pytest.raises(IllegalParameterError):
        parse_extended(parameter)


@pytest.mark.parametrize(
    "parameter",
    [b"", b"6", b"6,16,1,2,20,1", b"6,4" + b",1" * 16 + b",2,1,1", b"6,16" + b",1" * 16 + b",3,1,1", b"6,a", b"6,256"],
)
def test_a_malformed_lprt_is_illegal(parameter: bytes) -> None:
    with pytest.raises(IllegalParameterError):
        parse_long(parameter)


def test_another_family_is_told_from_a_malformed_address() -> None:
    with pytest.raises(UnsupportedFamilyError):
        parse_extended(b"|1|132.235.1.2|6275|")
    with pytest.raises(UnsupportedFamilyError):
        parse_long(b"4,4,132,235,1,2,2,24,131")


def test_a_command_is_its_verb_and_the_rest() -> None:
    assert parse_command(b" retr  a b \r\n") == Command(b"RETR", b"a b")
    assert parse_command(b"\r\n") == Command(b"", b"")
    assert parse_command(b"\xffx") == Command(b"\xffX", b"")


def test_a_reply_begins_with_its_code() -> None:
    assert parse_reply_start(b"226 done\r\n") == ReplyStart(226, more=False)
    assert parse_reply_start(b"226\r\n") == parse_reply_start(b"226\n") == parse_reply_start(b"226")
    assert parse_reply_start(b"226-done\r\n") == ReplyStart(226, more=True)
    for line in (b" 226 x\r\n", b"22\r\n", b"2261 x\r\n", b"626 x\r\n", b"", b"22x y\r\n"):
        assert parse_reply_start(line) is None


def test_a_reply_ends_with_its_code_and_no_hyphen() -> None:
    assert is_last_line(b"226 done\r\n", 226)
    assert not is_last_line(b"226-done\r\n", 226)
    assert not is_last_line(b"227 done\r\n", 226)
    assert not is_last_line(b" 226 done\r\n", 226)


def test_only_whole_words_are_replaced() -> None:
    assert with_word(b"200 PORT SUPPORT PORTS (PORT)", b"PORT", b"EPRT") == b"200 EPRT SUPPORT PORTS (EPRT)"
