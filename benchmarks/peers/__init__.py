"""What logsync is measured against. Each module is a process: it consumes one topic into one store until SIGTERM.

They run in `.venv-peers` and import nothing of logsync. `writes.py` holds the handlers that a team would write; the
consumers differ. Kafka's session timeout is 6 s for all, so that a restart after a kill does not wait for longer.
"""
