"""What ties engines together that follow one another: those of a service, where a killed one has a successor."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from samovar.model import Environment


class Succession(NamedTuple):
    secret: bytes  # that all of them know
    era: int = 0  # the how manieth engine it is, from 1; 0: there is no other one
    outlive: float = 0.0  # seconds for which replicas wait for the next; 0: they end with their engine
    survivors: Mapping[str, Environment] = MappingProxyType({})  # replicas of the one before, which may be there

    def token(self, replica: str) -> str:
        """What a replica shows; any engine of the line can tell whether it is the right one."""
        return hmac.new(self.secret, replica.encode(), hashlib.sha256).hexdigest()[:32]
