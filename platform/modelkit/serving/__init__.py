"""Serving: what should run (`plan`), who keeps it running (`agent`), who answers (`front`) and who computes (`runner`).

None of it knows Django, Celery or torch; the web imports `plan` and `backends.local_process` only.
"""
