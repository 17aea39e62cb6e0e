# SPDX-License-Identifier: MIT
"""
What needs root after the program has become somebody else: a process of its own, and the way to it.

The worker, which the network talks to, runs Twisted and starts the child (L{miredo.kernel.privileged.worker}) before it
drops its privileges. The child is another program (C{python -m miredo.kernel.privileged}): the standard library,
pyroute2 and zope.interface, never Twisted. It obeys typed commands (L{miredo.kernel.privileged.commands}), as far as
the configuration that it has read itself permits them (L{miredo.kernel.privileged.permits}), and hands descriptors
back. It trusts the worker in nothing: what is not permitted is refused with EPERM, what is no command ends the child.

Nothing is imported here, so that the child imports no more than it needs.
"""
