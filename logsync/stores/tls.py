"""What the TLS between a store's client and its server complains of, in words; for every store with a URL.

Time mends no certificate: a worker that waits for it never gets on, and says that the server does not answer. So what
only a person can mend is told from a connection that just broke.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

_SPEAKS_NONE = "the server does not speak TLS on this port"
_PLAIN = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
_VERSIONS = {"UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_SHARED_CIPHER"}
_PASSES = (
    "CLOSE_NOTIFY",
    "INTERNAL_ERROR",
    "USER_CANCELLED",
    "NO_RENEGOTIATION",
)  # alerts that say nothing of the set-up


def complaint(error: BaseException) -> str:
    """What is wrong with certificates or versions, or that one side speaks no TLS; empty if it is nothing of that."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate does not verify: {getattr(cause, 'verify_message', cause)}"
        if isinstance(cause, ssl.SSLError):
            reason = str(cause.reason or "")
            if reason in _PLAIN:
                return f"{_SPEAKS_NONE} ({reason})"
            if reason in _VERSIONS or reason.endswith(("_TOO_SMALL", "_TOO_WEAK")):
                return f"client and server agree on no TLS version, cipher or key ({reason})"
            if "ALERT" in reason and not reason.endswith(_PASSES):
                return f"the server refuses this client's TLS: does it want a certificate? ({reason})"
    return ""


def asked(host: str, port: int, *, secure: bool, timeout: float) -> str:
    """Why the first contact with a server broke, found by asking it for TLS; empty if it is nothing of that.

    ``secure``: TLS was tried, without a certificate of the client. A server that is spoken to in the wrong way often
    hangs up before its complaint is read. So it is asked again with nothing else under way, for ``timeout`` seconds.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # to hear it, not to trust it
    try:
        with (
            socket.create_connection((host, port), timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as speaking,
        ):
            if secure:
                speaking.recv(1)  # TLS 1.3 asks for certificates after its handshake
    except TimeoutError:
        return ""
    except OSError as error:
        wrong = complaint(error)
        if secure:
            return wrong
        # That it speaks none is what a client without TLS wants: whatever broke before was an outage.
        return _EXPECTS if "refuses this client" in wrong else "" if wrong.startswith(_SPEAKS_NONE) else wrong
    return "" if secure else _EXPECTS


_EXPECTS = "the server expects TLS"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it names as its cause, however its client keeps it."""
    todo, seen = [error], set[int]()
    while todo:
        cause = todo.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        kept = (cause.__cause__, cause.__context__, getattr(cause, "reason", None), getattr(cause, "info", None))
        todo += [other for other in (*kept, *cause.args) if isinstance(other, BaseException)]
