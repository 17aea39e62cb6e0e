# SPDX-License-Identifier: MIT
"""Network namespaces by name, and the way back from them."""

import os
import socket
from errno import EEXIST, EINVAL, ENOENT, ENOSPC

import pytest

from miredo.kernel.libc import CLONE_NEWUSER, unshare
from miredo.kernel.namespaces import LOST, create_namespace, delete_namespace, entered
from tests.kernel.bench import refused_with
from tests.namespaced import open_descriptors


def here() -> str:
    return os.readlink("/proc/thread-self/ns/net")


@pytest.mark.namespaced
def test_a_namespace_is_entered_and_left() -> None:
    create_namespace("left")
    home = here()
    with entered("left"):
        away = here()
        assert [name for _, name in socket.if_nameindex()] == ["lo"]
    assert away != home
    assert here() == home
    with entered("left"):
        assert here() == away


@pytest.mark.namespaced
def test_no_name_is_where_one_is() -> None:
    home = here()
    with entered(None):
        assert here() == home


@pytest.mark.namespaced
def test_what_was_opened_inside_stays_inside() -> None:
    create_namespace("left")
    with entered("left"):
        inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        inside.bind(("0.0.0.0", 4000))
        outside.bind(("0.0.0.0", 4000))


@pytest.mark.namespaced
def test_an_exception_inside_comes_out_at_home() -> None:
    create_namespace("left")
    home = here()
    with pytest.raises(KeyError), entered("left"):
        raise KeyError("inside")
    assert here() == home


@pytest.mark.namespaced
def test_what_is_no_namespace_is_not_entered() -> None:
    create_namespace("left")
    home = here()
    with open("/run/netns/file", "w") as file:
        file.write("not a namespace")
    for name, errno in (("file", EINVAL), ("nowhere", ENOENT), ("../netns/left", EINVAL), ("", EINVAL), ("..", EINVAL)):
        with refused_with(errno), entered(name):
            pytest.fail("entered")
    assert here() == home


@pytest.mark.namespaced
def test_a_namespace_is_made_once_and_deleted_once() -> None:
    home = here()
    create_namespace("left")
    with refused_with(EEXIST):
        create_namespace("left")
    delete_namespace("left")
    with refused_with(ENOENT):
        delete_namespace("left")
    assert os.listdir("/run/netns") == []
    assert here() == home


@pytest.mark.namespaced
def test_a_namespace_that_the_kernel_refuses_leaves_no_name_behind() -> None:
    unshare(CLONE_NEWUSER)  # whose limits are its own
    with open("/proc/sys/user/max_net_namespaces", "w") as limit:
        limit.write("0")
    with refused_with(ENOSPC):
        create_namespace("left")
    assert os.listdir("/run/netns") == []


@pytest.mark.namespaced
def test_a_process_that_cannot_return_ends_with_a_line() -> None:
    create_namespace("left")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 2)
        os.close(writing)
        with entered("left"):
            for number, target in open_descriptors().items():
                if target.startswith("net:"):
                    os.close(number)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() == "miredo: cannot return to the network namespace of the process: Bad file descriptor\n"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == LOST
