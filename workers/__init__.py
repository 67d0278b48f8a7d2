"""The Celery side: carries out what the database says is to be done. Knows every app; no app knows it."""
