"""Reads about jobs: `queue` (who waits for what), `records` (rows), `folders` (events, logs, artifacts of a job)."""
