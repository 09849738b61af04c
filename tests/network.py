"""Two hosts on one machine, and the network between them, which can be cut.

A host is a network namespace. A cable goes from each to a switch, a bridge in a third one. When a port is taken out of
the bridge, both hosts have their cable as before, and nothing comes through it any more.

And an address of this host itself, which comes and goes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

ADDRESSES = ("192.0.2.1", "192.0.2.2")  # of no network at all: RFC 5737
PASSING = "127.77.77.77/32"
SECONDS = 20  # the bound of every step


def missing() -> str:
    """Why there can be no such hosts here; "" if there can."""
    for program in ("ip", "ss", "nsenter"):
        if shutil.which(program) is None:
            return f"no {program} on this machine"
    try:
        with between_two_hosts():
            return ""
    except subprocess.CalledProcessError as error:
        return f"no network namespace with a bridge in it: {error.stderr.strip()}"


class Network:
    def __init__(self, switch: str, hosts: tuple[str, str]) -> None:
        self._switch = switch
        self._hosts = hosts

    def within(self, host: int) -> tuple[str, ...]:
        """What makes a command one of this host, 0 or 1."""
        return ("nsenter", f"--net=/run/netns/{self._hosts[host]}")

    def connections(self, host: int) -> list[str]:
        """The TCP connections that this host takes for good, but for those with itself."""
        done = _run(*self.within(host), "ss", "--no-header", "--numeric", "--tcp", "state", "established")
        return [line for line in done.splitlines() if ADDRESSES[1 - host] in line]

    def cut(self) -> None:
        _run("ip", "-n", self._switch, "link", "set", "port0", "nomaster")

    def mend(self) -> None:
        _run("ip", "-n", self._switch, "link", "set", "port0", "master", "bridge")


@contextlib.contextmanager
def between_two_hosts() -> Iterator[Network]:
    """CalledProcessError: there can be none."""
    switch, *hosts = [f"samovar-{os.getpid()}-{name}" for name in ("switch", "0", "1")]
    with contextlib.ExitStack() as stack:
        for name in (switch, *hosts):
            _run("ip", "netns", "add", name)
            stack.callback(_run, "ip", "netns", "delete", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        for number, host in enumerate(hosts):
            port = f"port{number}"
            _run("ip", "-n", switch, "link", "add", port, "type", "veth", "peer", "name", "cable", "netns", host)
            _run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
            _run("ip", "-n", host, "address", "add", f"{ADDRESSES[number]}/24", "dev", "cable")
            _run("ip", "-n", host, "link", "set", "cable", "up")
        yield Network(switch, (hosts[0], hosts[1]))


def change() -> None:
    """An address of this host comes and goes. CalledProcessError, FileNotFoundError: it can't."""
    for verb in ("replace", "delete"):
        _run("ip", "address", verb, PASSING, "dev", "lo")


def unchangeable() -> str:
    """Why none can come and go; "" if one can."""
    try:
        change()
    except FileNotFoundError:
        return "no ip on this machine"
    except subprocess.CalledProcessError as error:
        return f"no address that may be added: {error.stderr.strip()}"
    return ""


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS).stdout
