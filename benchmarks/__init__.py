"""Measurements that the documentation quotes. Each prints one JSON object as its last line."""
