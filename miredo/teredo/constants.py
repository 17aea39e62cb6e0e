# SPDX-License-Identifier: MIT
"""Numbers of the protocol, each with its unit and source; "ours" says why where no RFC does."""

SOLICITATION_TIMEOUT = 4.0
"""Seconds to wait for a Router Advertisement: T (RFC 4380 5.2.1)."""
SOLICITATIONS = 3
"""Transmissions in all: N (RFC 4380 5.2.1; 3 in all as its figure and RFC 4861 10 have it)."""

REFRESH_INTERVAL = 30.0
"""Seconds a NAT mapping is taken to live without traffic (RFC 4380 5.2)."""
REFRESH_LOW, REFRESH_HIGH = 0.75, 1.0
"""The randomised refresh interval as a share of the refresh interval (RFC 4380 5.2)."""

LONGEST_REFRESH_INTERVAL = 120.0
"""Seconds: the largest refresh interval that is looked for, if any is (RFC 4380 5.2.7)."""
CONCLUSIVE_SHARE = 0.75
"""Of the largest interval that may still do: from here on the search has concluded (RFC 4380 5.2.7, step 5)."""
INTERVAL_BUBBLE_PATIENCE, INTERVAL_BUBBLES = 2.0, 4
"""Seconds to wait for the bubble to the secondary port, and how many are sent: one, repeated at most three times (RFC
4380 5.2.7, step 3)."""
SETTLED_LIFE = 3600.0
"""Seconds that a mapping has to live for its end not to be put down to the refresh interval. Ours."""

REST_LOW, REST_HIGH = 8.0, 12.0
"""Seconds from the last solicitation of a round to the next round. Ours: C miredo takes 100 s."""
REST_PATIENCE = 600.0
"""Seconds of such rounds before that time begins to double. Ours."""
REST_LONGEST = 100.0
"""Seconds: the longest it becomes. Ours, from C miredo."""

SUSPICION_SPACING = 5.0
"""Seconds between solicitations because something did not come back. Ours."""

SILENCE = 2.0
"""Seconds without an answer after which the port may be cut off. Ours."""
RELAY_PATIENCE = 3.0
"""Seconds without an answer after which a native host's relay may be gone. Ours: C miredo takes 30."""

PEER_VALIDITY = 30.0
"""Seconds after the last reception in which a trusted peer may be sent to (RFC 4380 5.2.4)."""
PEER_RETENTION = 300.0
"""Seconds after the last reception until a peer is forgotten. Ours: the window of ATTEMPT_WINDOW."""

ATTEMPT_LIMIT = 4
"""Attempts without a direct response in ATTEMPT_WINDOW seconds (RFC 4380 5.2.6)."""
ATTEMPT_WINDOW = 300.0
"""Seconds (RFC 4380 5.2.6)."""
ATTEMPT_SPACING = 2.0
"""Seconds from the last transmission to a peer to an attempt at it (RFC 4380 5.2.6)."""
ATTEMPT_INTERVAL = 2.25
"""Seconds between attempts. Ours: more than 2, so that the far end's own limiter never eats a retry."""
PATIENCE = ATTEMPT_LIMIT * ATTEMPT_INTERVAL
"""Seconds a packet waits for its peer to answer: until the last attempt has had its time."""
NATIVE_PAUSE = 10.0
"""Seconds after an unanswered connectivity test before the next. Ours: 5.2.6 bounds bubbles, not pings."""

ANSWER_SPACING = 1.0
"""Seconds between answers to indirect bubbles for one endpoint. Ours."""
DISCOVERY_LOW, DISCOVERY_HIGH = 200.0, 300.0
"""Seconds between discovery bubbles, evenly drawn (RFC 4380 5.2.8)."""
DISCOVERY_SPACING = 1.0
"""Seconds between discovery bubbles that something else asks for. Ours."""
NEIGHBOUR_VALIDITY = 600.0
"""Seconds after its last discovery bubble in which a peer is local (RFC 4380 5.2.4 case 3)."""

ANSWER_LIMIT = 4
"""Answers for one endpoint in ATTEMPT_WINDOW seconds without a direct packet from it. Ours."""

QUEUE_PACKETS = 32
"""Packets that wait for one peer (RFC 4380 5.4.1 asks for a limit)."""
QUEUE_BYTES = 40960
"""Bytes that wait for one peer: 32 packets of the tunnel's MTU. C miredo has 1280."""
HELD_PACKETS = 8
"""Received packets held for one peer that is not verified yet. Ours."""
HELD_AGE = 1.0
"""Seconds a packet of another Teredo client is held for the bubble with the nonce. Ours."""

ERROR_RATE, ERROR_BURST = 10.0, 10.0
"""ICMPv6 errors a second, and at once (RFC 4443 2.4(f))."""

KEY_EPOCH = 300.0
"""Seconds one key makes a relay's bubble sources; the key before is accepted as long. Ours."""

TUNNEL_MTU = 1280
"""Bytes (RFC 4380 5.1.2)."""
LARGEST_MTU = 65507
"""Bytes: the longest payload of a UDP datagram over IPv4 (RFC 768, RFC 791)."""
SERVER_ICMPV6_LIMIT = 88
"""Bytes of ICMPv6 that a server forwards. Ours is C miredo's and Microsoft's limit."""
FOREIGN_PORT_BUBBLE_LIMIT = 128
"""Bytes of a bubble, trailers and all, that a server takes from a port other than the embedded one. Ours."""
SERVER_BURST = 2.0
"""Seconds of a source's limit that a server lets through at once. Ours."""
SERVER_SOURCES = 65536
"""Sources whose limit a server keeps count of, for answers and for forwarding each. Ours: some 10 MB each."""
BUBBLE_TTL = 2
"""TTL of the first direct bubble to a client: it opens our NAT and dies before the client's, where it would hold the
port that the client's answer needs (Linux masquerade). Ours; dolphin-emu and enet do likewise."""
ECHO_NONCE_LENGTH = 16
"""Bytes of nonce in a connectivity test; RFC 4380 5.2.9 recommends at least 8."""

MIRE_PORT = 3545
"""The port of an echo responder besides that of a server. Ours, from C miredo's teredo-mire."""
