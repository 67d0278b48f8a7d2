"""The agent: one per host, owner of the front and of the runners.

    supervise   the loop: read what is desired, act, report
    revision    one revision from pending to live, and after a crash
    golden      the golden set against the frozen answers
    state       what must survive the agent's own death
    processes   starting, finding again and ending processes

It follows `desired.json` and needs neither Django nor Celery, Redis or a database.
"""
