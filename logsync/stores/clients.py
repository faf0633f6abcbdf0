"""A store's client library that cannot be imported: one that is missing is mended in another way than a broken one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from logsync.core.raised import of_a_library
from logsync.errors import ConfigError, LogsyncError


@contextmanager
def importing(package: str, *, extra: str) -> Iterator[None]:
    """For a block that imports the client ``package``. Raises ConfigError if it cannot be imported."""
    install = f"pip install 'logsync[{extra}]'"
    try:
        yield
    except LogsyncError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise ConfigError(f"the package {package} is not installed", fix=install) from None
        hiding = _hiding(package, error)
        raise ConfigError(
            f"the package {package} cannot be imported: {type(error).__name__}: {error}",
            fix=f"rename {hiding}: it stands in for an installed package of that name" if hiding else install,
        ) from error


def _hiding(package: str, error: Exception) -> Path | None:
    """A file of the user's that was found in the place of a library: most often the reason."""
    found = [getattr(error, "path", None), getattr(sys.modules.get(package), "__file__", None)]
    return next((Path(file) for file in found if file and not of_a_library(file)), None)
