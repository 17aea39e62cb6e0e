# SPDX-License-Identifier: MIT
"""What may be in front of a client of the lab: the model of a NAT, a NAT of the kernel's, or nothing."""

from enum import StrEnum
from typing import Final

from miredo.lab.natbehaviour import NatBehaviour, parse_behaviour


class KernelNat(StrEnum):
    """A Linux router of its own between client and core, by the rules that nftables has there."""

    MASQUERADE = "kernel-masquerade"
    """Nothing but C{masquerade}: what comes unasked leaves an entry, and whoever sent it is answered from elsewhere."""
    MASQUERADE_FILTERED = "kernel-masquerade-filtered"
    """As home routers do: what comes unasked is dropped, and so is its entry."""
    CONE = "kernel-cone"
    """Whatever comes to an unprivileged port goes to the client."""
    ADDRESS_RESTRICTED = "kernel-address-restricted"
    """As C{kernel-cone}, from addresses that the client has sent to in the last five minutes."""
    SYMMETRIC = "kernel-symmetric"
    """Each destination sees a random port."""


class NoNat(StrEnum):
    """The client has a public address."""

    NONE = "none"


NO_NAT: Final = NoNat.NONE

Front = NatBehaviour | KernelNat | NoNat
"""What is in front of a client; as text, the word that L{parse_front} takes."""


def parse_front(text: str) -> Front:
    """
    Read a NAT's words (L{miredo.lab.natbehaviour}), C{none}, or the name of a kernel NAT.

    @raise ValueError: it is none of these; the text says what would be.
    """
    for known in (NoNat, KernelNat):
        if text in set(known):
            return known(text)
    try:
        return parse_behaviour(text)
    except ValueError as error:
        raise ValueError(f"{error}; or one of {', '.join([*NoNat, *KernelNat])}") from None
