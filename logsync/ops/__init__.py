"""What commands do, as a library: it looks, judges and changes, and prints nothing. ``logsync.cli`` renders it."""
