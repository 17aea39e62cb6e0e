# SPDX-License-Identifier: MIT
from pyroute2.netlink import nlmsg

ifinfmsg = nlmsg
