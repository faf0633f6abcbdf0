"""The pure core: values in, values out. No client library, no clock, no I/O."""
