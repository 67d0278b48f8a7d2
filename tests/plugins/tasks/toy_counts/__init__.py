"""Counts labels, slowly and interruptibly."""
