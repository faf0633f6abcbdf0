"""``python -m logsync.cli`` is ``logsync``."""

from logsync.cli import main

main()
