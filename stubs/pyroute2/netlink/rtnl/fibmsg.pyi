# SPDX-License-Identifier: MIT
from pyroute2.netlink import nlmsg

fibmsg = nlmsg
