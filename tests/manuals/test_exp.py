import os
from dataclasses import replace
from pathlib import Path
import pytest
from miredo.kernel.clock import BoottimeClock
from miredo.kernel.endpoints import KernelEndpoints
from miredo.kernel.libc import CLONE_NEWNET, setns
from miredo.kernel.namespaces import path_of
from miredo.lab.building import Laboratory
from miredo.lab.plan import USUAL_NAT
from miredo.lab.nat import BEHAVIOURS
from miredo.lab.topology import HOST_ADDRESS, TEREDO_INTERNET, NatPlace
from tests.namespaced import install_reactor, run_reactor, until, pause
from tests.daemons import started
from tests.interop.test_miredo import answers, qualified
import time

T = TEREDO_INTERNET
TOPO = replace(T, wires=tuple(w for w in T.wires if {w.one.node, w.other.node} != {"core","relay"}),
  routes=tuple(r for r in T.routes if not (r.node=="relay" and r.destination=="0.0.0.0/0")),
  nats=(T.nats[0], NatPlace("relay","192.168.3.2/24","192.0.2.17","core")))

def into(node):
    def enter():
        fd = os.open(path_of(node), os.O_RDONLY)
        setns(fd, CLONE_NEWNET); os.close(fd)
    return enter

@pytest.mark.namespaced
@pytest.mark.parametrize("kind", ["cone","restricted"])
@pytest.mark.parametrize("nat", BEHAVIOURS, ids=str)
@pytest.mark.parametrize("first", ["client-a","host"])
def test_it(kind, nat, first, tmp_path):
    async def body():
        t0=time.monotonic()
        reactor = install_reactor(); clock = BoottimeClock(reactor)
        lab = Laboratory(TOPO, lambda node: KernelEndpoints(node, reactor), clock, os.urandom)
        lab.build({"client-a": USUAL_NAT, "relay": nat}); lab.start()
        runs = []
        for node, program, text in (("server","miredo-server","ServerBindAddress 192.0.2.1\n"),("relay","miredo",f"RelayType {kind}\nBindPort 3545\n"),("client-a","miredo","ServerAddress 192.0.2.1\nClientHook none\n")):
            f = tmp_path/node; f.mkdir(); (f/"c").write_text(text)
            s = started(f, program, "-f","-c","c","-p",str(f/"pid"), pid_file=f/"pid", prepare=into(node)); runs.append((s,s.__enter__()))
        a = await qualified("client-a")
        await until(lambda: "started" in runs[1][1].text)
        print("ready", time.monotonic()-t0)
        try:
            if first == "host":
                s = await answers("host", a, 6)
            else:
                s = await answers("client-a", HOST_ADDRESS, 6)
            print("RESULT", kind, nat, first, s)
        except AssertionError as e:
            print("RESULT", kind, nat, first, "NO")
        for s,_ in runs: s.__exit__(None,None,None)
        print("end", time.monotonic()-t0)
        lab.close()
    run_reactor(body(), timeout=40)
