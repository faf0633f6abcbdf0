"""What an error of redis-py says about the data: the one table from its classes into logsync's tree."""

from __future__ import annotations

import redis.exceptions as theirs

from logsync.errors import ConfigError, LogsyncError, StoreOutcomeUnknown, StoreUnavailable
from logsync.stores.tls import complaint

_WAIT = StoreUnavailable  # nothing was applied, and it passes by itself
_HALT = ConfigError  # nothing was applied, and a person has to change something

# Answers of the server, by the first word of the answer. A script with a #! line is refused as a whole, before
# its first command, with each of those that mean _WAIT; what dies half-way is found by what it counted.
_ANSWERS: dict[str, tuple[type[LogsyncError], str]] = {
    "LOADING": (_WAIT, ""),
    "READONLY": (_WAIT, "if it stays so: point LOGSYNC_REDIS at the primary, this is a replica"),
    "MASTERDOWN": (_WAIT, ""),
    "MISCONF": (_WAIT, "Redis cannot persist: look at its disk and at `INFO persistence`"),
    "NOREPLICAS": (_WAIT, "fewer replicas than min-replicas-to-write are connected"),
    "OOM": (_WAIT, "raise `maxmemory`: Redis is full, and must not evict"),
    "BUSY": (_WAIT, "another client's script is running: `SCRIPT KILL` ends it"),
    "TRYAGAIN": (_WAIT, ""),
    "CLUSTERDOWN": (_WAIT, ""),
    "UNKILLABLE": (_WAIT, ""),
    "MOVED": (_HALT, "point LOGSYNC_REDIS at the cluster node that holds the sink's prefix, as named in the message"),
    "ASK": (_WAIT, "the slot of the sink's prefix is moving to another node"),
    "CROSSSLOT": (_HALT, "give the prefix a hash tag, as in Redis(prefix='{shop}:')"),
    "NOAUTH": (_HALT, "put user and password into LOGSYNC_REDIS: redis://user:password@host:port/0"),
    "WRONGPASS": (_HALT, "correct user and password in LOGSYNC_REDIS"),
    "NOPERM": (_HALT, "give the user the rights that docs/writes-redis.md lists (`ACL SETUSER`)"),
    "ACL": (_HALT, "give the user the rights that docs/writes-redis.md lists (`ACL SETUSER`)"),  # NOPERM in a script
    "WRONGTYPE": (_HALT, "a key of logsync's own bookkeeping was overwritten by something else"),
}

# redis-py takes the first word off the answers it knows and tells them by class.
_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (theirs.BusyLoadingError, "LOADING"),
    (theirs.ReadOnlyError, "READONLY"),
    (theirs.MasterDownError, "MASTERDOWN"),
    (theirs.OutOfMemoryError, "OOM"),
    (theirs.TryAgainError, "TRYAGAIN"),
    (theirs.ClusterDownError, "CLUSTERDOWN"),
    (theirs.MovedError, "MOVED"),
    (theirs.AskError, "ASK"),
    (theirs.ClusterCrossSlotError, "CROSSSLOT"),
    (theirs.AuthenticationError, "WRONGPASS"),
    (theirs.AuthenticationWrongNumberOfArgsError, "WRONGPASS"),
    (theirs.NoPermissionError, "NOPERM"),
    (theirs.AuthorizationError, "NOPERM"),
)


def translate(error: Exception, where: str, *, sent: bool) -> LogsyncError:
    """The same error in logsync's words. ``where`` names the server without any secret.

    ``sent``: a script that writes was handed over completely. Then a broken connection leaves the outcome
    open; before that, Redis cannot have run it, because it runs nothing before its last byte.
    """
    wrong = complaint(error)
    if wrong:
        return mismatch(where, wrong)
    word = next((word for kind, word in _CLASSES if isinstance(error, kind)), str(error).split(" ", 1)[0])
    if word == "WRONGPASS" and "required" in str(error):
        word = "NOAUTH"  # the same class for both
    known = _ANSWERS.get(word)
    if known:
        kind, fix = known
        return kind(f"{where}: Redis answered {word}: {_line(str(error).removeprefix(word).strip())}", fix=fix)
    if isinstance(error, theirs.ResponseError):
        fix = "Redis 7.0 or later (or Valkey) is needed, with its commands under their own names; see its log for more"
        return ConfigError(f"{where}: Redis answered: {_line(str(error))}", fix=fix)
    # What is left is the connection: ConnectionError, TimeoutError, OSError, a protocol that is not Redis'.
    if isinstance(error, theirs.InvalidResponse):
        text = "what answers there is not Redis"  # its bytes are anybody's
    else:
        text = _line(str(error))
    if sent:
        return StoreOutcomeUnknown(f"{where}: the connection broke before Redis answered: {text}")
    return StoreUnavailable(f"{where}: {text}")


def mismatch(where: str, wrong: str, named: str = "LOGSYNC_REDIS") -> ConfigError:
    """One side speaks TLS otherwise than the other expects: it does not pass."""
    fix = f"correct {named}: redis:// or rediss://? ssl_ca_certs=FILE in it, or SSL_CERT_FILE, names whom to trust"
    return ConfigError(f"{where}: {_line(wrong)}", fix=fix)


def _line(text: str, most: int = 300) -> str:
    """One line of printable characters, without the arguments that Redis repeats of a command that it does not know.

    They may be what a batch writes, or a password.
    """
    text = text.split(", with args beginning with", 1)[0]
    line = "".join(letter if letter.isprintable() else " " for letter in text[: most + 1])
    return line if len(line) <= most else f"{line[: most - 3]}..."
