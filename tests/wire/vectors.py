# SPDX-License-Identifier: MIT
"""The test vectors: byte strings by name, and who is who in them."""

import json
from pathlib import Path

from miredo.address.endpoint import parse_endpoint, parse_ipv4, parse_ipv6

_FILE = Path(__file__).parent.parent / "vectors" / "teredo.json"

VECTORS = {name: bytes.fromhex(row["hex"]) for name, row in json.loads(_FILE.read_text()).items()}
"""The bytes of each vector. C{teredo.json} also has a note on each."""

SERVER = parse_ipv4("203.0.113.120")
"""Client A's server."""

SERVER_B = parse_ipv4("198.51.100.118")
"""Client B's server."""

MAPPED_A = parse_endpoint("192.0.2.1:4096")
MAPPED_B = parse_endpoint("192.0.2.10:8192")
CLIENT_A = VECTORS["addr_A"]
CLIENT_B = VECTORS["addr_B"]
NATIVE = parse_ipv6("2001:db8::1")
NONCE = bytes.fromhex("0123456789abcdef")
PING = bytes.fromhex("00112233445566778899aabbccddeeff")
SECRET = b"correct horse battery staple"
"""The key of the secure vectors."""
