"""Every fault x every store, as one table. `python -m tests.faults --help`; what came out: docs/faults.md."""
