"""The store edges. Each imports its client library only when it is opened."""
