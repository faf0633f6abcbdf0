"""The whole table: importing a module of rows adds its rows."""

from . import kafka, stores, workers
from .fault import CLASSES, FAULTS

__all__ = ["ROWS", "kafka", "stores", "workers"]

ROWS = sorted(FAULTS, key=lambda row: CLASSES.index(row.of))
