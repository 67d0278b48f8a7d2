"""Compression: which methods apply, and how variants compare."""
