"""Inert writes: what handlers return. Plain values per store family, without any client library."""
