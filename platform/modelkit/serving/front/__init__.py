"""The front: HTTP on the serving port, for every endpoint of this host.

    http        one connection: parsing, limits, time-outs, order of answers
    app         what each address answers
    exchange    one prediction on its way to a runner and back
    links       connections to runners
    table       the routing table as looked up per request
    counters    requests, errors and latencies, for Prometheus and the agent

It serves from `routing.json` on disk: agent, Django, Redis and the database may all be down.
"""
