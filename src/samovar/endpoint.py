"""Endpoints: where a service is, as users write it, and how they are shown without what is secret in them.

    none                                   no service: an engine of one's own
    /run/user/1000/…/service.sock          a Unix socket of this host; also unix:///run/…
    samovar://TOKEN@HOST:PORT#FINGERPRINT  a service on another host

The token may be set apart. With a fingerprint the service's certificate is the one that has this SHA-256, whoever
signed it; without one it must be signed for HOST by an authority that this machine trusts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

NONE = "none"
"""The endpoint of whoever wants no service."""

PORT = 7266
"""Of services, where none is given."""

TOKEN_PREFIX = "samovar_"
"""How every token begins, so that people and scanners see what it is."""

_SCHEME = "samovar://"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Remote:
    """A service that is reached over a network."""

    host: str
    port: int
    fingerprint: str = ""  # SHA-256 of its certificate, in hex; "": an authority vouches for it
    token: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{_SCHEME}{join(self.host, self.port)}"

    @property
    def in_full(self) -> str:
        """What a user can paste."""
        who = f"{self.token}@" if self.token else ""
        return f"{_SCHEME}{who}{join(self.host, self.port)}" + (f"#{self.fingerprint}" if self.fingerprint else "")


Endpoint = str | Remote
"""``none``, the path of a Unix socket, or another host."""


def parse(text: str) -> Endpoint:
    """ValueError, without anything secret: it is no endpoint."""
    text = text.strip().removeprefix("unix://")
    if text == NONE or text.startswith("/"):
        return text
    if not text.startswith(_SCHEME):
        raise ValueError(f"it must be the path of a Unix socket, {_SCHEME}HOST:PORT, or {NONE!r}")
    rest, _, fingerprint = text.removeprefix(_SCHEME).partition("#")
    token, _, address = rest.rpartition("@")
    host, port = host_and_port(address)
    return Remote(host, port, _fingerprint(fingerprint) if fingerprint else "", parse_token(token) if token else "")


def parse_token(text: str) -> str:
    """ValueError: it cannot be a token."""
    if not _TOKEN.fullmatch(text.strip()):
        raise ValueError("what stands for the token is none: it has letters, digits, _ and - only")
    return text.strip()


def host_and_port(text: str, port: int = PORT) -> tuple[str, int]:
    """``HOST:PORT``, or ``HOST``, which has this port; an IPv6 address stands in brackets. ValueError."""
    try:
        parts = urlsplit(f"//{text.strip()}")
        host, named = parts.hostname, parts.port
    except ValueError:
        host, named = None, None
    if not host or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("it must have a host and a port, as HOST:PORT, or [ADDRESS]:PORT for IPv6")
    return host, port if named is None else named


def join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def shown(text: str) -> str:
    """The text without a token, for messages."""
    text = re.sub(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]+", f"{TOKEN_PREFIX}…", text)
    return re.sub(r"^(?!/)([a-z]*:?/*).*@", r"\1…@", text, flags=re.IGNORECASE | re.DOTALL)


def _fingerprint(text: str) -> str:
    plain = text.lower().removeprefix("sha256:").replace(":", "")
    if not _FINGERPRINT.fullmatch(plain):
        raise ValueError("what follows # must be the SHA-256 of the service's certificate: 64 hexadecimal digits")
    return plain
