# SPDX-License-Identifier: MIT
"""One line a subcommand; imports nothing of ours, since every twistd run on the machine imports it."""

from twisted.application.service import ServiceMaker

miredo = ServiceMaker("miredo", "miredo.tap", "Teredo client, relay and server (RFC 4380, 5991, 6081)", "miredo")
