"""Where health is served: ``--health 8080`` for this machine alone, ``--health 0.0.0.0:8080`` for others as well."""

from __future__ import annotations

import re
import socket
from typing import NamedTuple

from logsync.errors import ConfigError

_PLACE = re.compile(r"(?:(?P<host>\[[^\[\]]+\]|[^:\[\]\s]*):)?(?P<port>\d{1,5})")
_EVERYWHERE = ("", "*", "::")


class Listening(NamedTuple):
    """A host and port to listen at. Port 0 takes any that is free."""

    host: str
    port: int

    @classmethod
    def at(cls, text: str) -> Listening:
        """``PORT``, ``HOST:PORT``, ``[IPV6]:PORT``, or ``:PORT`` for all interfaces. Raises ValueError for others."""
        found = _PLACE.fullmatch(text.strip())
        if found is None or int(found["port"]) > 65_535:
            raise ValueError(f"expected PORT, HOST:PORT or [IPV6]:PORT, found {text!r}")
        host = found["host"]
        return cls("127.0.0.1" if host is None else host.strip("[]"), int(found["port"]))

    def open(self) -> socket.socket:
        """A socket that listens there. Raises ConfigError."""
        everywhere = self.host in _EVERYWHERE
        try:
            if everywhere and socket.has_dualstack_ipv6():
                return socket.create_server(("", self.port), family=socket.AF_INET6, dualstack_ipv6=True)
            family = socket.AF_INET6 if ":" in self.host and not everywhere else socket.AF_INET
            return socket.create_server(("" if everywhere else self.host, self.port), family=family)
        except OSError as error:
            what = f"--health cannot listen at {self}: {error.strerror or error}"
            raise ConfigError(what, fix="choose another port, or an address of this machine") from None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
