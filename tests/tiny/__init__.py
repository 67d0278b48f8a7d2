"""Tiny models and datasets, built in code: what tests need of real ones, in milliseconds."""
