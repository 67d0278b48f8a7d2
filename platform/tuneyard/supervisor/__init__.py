"""Starts, watches and stops every process of one Tuneyard on one machine: `python -m tuneyard.supervisor`.

    __main__        reads the configuration, refuses what cannot work, runs the supervisor
    configuration   what this instance is: home, addresses, what runs here and what elsewhere
    catalogue       the processes and their commands
    supervisor      start in order of need, stop in stages
    child           one process: spawn, follow its output, restart with back-off, stop
    prepare         what the database needs before the first request
    mlflow_server   what its database needs, then the MLflow server itself
    guardian        ends what is left when the supervisor itself is killed

It knows commands, not code: it imports neither the workers nor the library.
Why it is our own: docs/adr/0006-own-supervisor.md.
"""
