"""The disease that logsync cures: an app that writes to three stores by itself. See README.md."""
