"""The Celery side: thin tasks that load a row and call a service."""
