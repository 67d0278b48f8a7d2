"""The composition root: Django project, Celery application and supervisor of Tuneyard."""
