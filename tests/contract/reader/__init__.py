"""One suite for both readers: the promises of logsync/log/contract.py, in memory and over a real broker."""
