# SPDX-License-Identifier: MIT
"""What is in front of a client, by its words, and the rules of a kernel's NAT."""

import pytest

from miredo.lab.fronts import NO_NAT, Front, KernelNat, parse_front
from miredo.lab.kernelnat import rules
from miredo.lab.nat import FAMILIAR, KINDS


@pytest.mark.parametrize("front", [NO_NAT, *KernelNat, *KINDS], ids=str)
def test_what_is_told_is_what_is_read(front: Front) -> None:
    assert parse_front(str(front)) == front
    assert type(parse_front(str(front))) is type(front)


def test_no_word_means_two_things() -> None:
    names = [NO_NAT.value, *(kind.value for kind in KernelNat), *FAMILIAR]
    assert len(names) == len(set(names))


def test_what_is_none_of_them_is_told_with_all_that_would_be() -> None:
    with pytest.raises(ValueError, match=r"there is no such name.*none, kernel-masquerade, .*kernel-symmetric"):
        parse_front("kernel")


@pytest.mark.parametrize("kind", KernelNat)
def test_only_a_plain_masquerade_lets_what_comes_unasked_leave_its_entry(kind: KernelNat) -> None:
    assert ("ct state new drop" in rules(kind, "192.168.1.2")) is (kind is not KernelNat.MASQUERADE)


@pytest.mark.parametrize("kind", KernelNat)
def test_who_may_begin_is_sent_to_the_client(kind: KernelNat) -> None:
    from_anybody, from_some = KernelNat.CONE, KernelNat.ADDRESS_RESTRICTED
    assert ("dnat to 192.168.1.2" in rules(kind, "192.168.1.2")) is (kind in (from_anybody, from_some))
    assert ("@heard dnat" in rules(kind, "192.168.1.2")) is (kind is from_some)
