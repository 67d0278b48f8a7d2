"""Forks one child session per job from a process that has the heavy libraries imported already.

    python -m modelkit.launcher --socket PATH [--jobs FOLDER] [--preload torch,...] [--stop-timeout SECONDS]

A cold `import torch, transformers` takes 5 to 10 s; a fork of this process runs user code some 15 ms after the request.
For that to be safe the process stays single-threaded, runs no tensor operation and never touches CUDA.

The protocol is one JSON object a line over a Unix socket, in both directions:

    {"op": "ping"}                                  -> {"ok": true, "pid", "threads", "preloaded": [...], "children": n}
    {"op": "launch", "job_dir", "attempt", "device", "threads", "nice", "env": {...}}
                                                    -> {"ok": true, "pid", "started_at", "attempt", "already": bool}
    {"op": "list"}                                  -> {"ok": true, "children": [{"job_dir", "pid", "started_at", ...}]}
    {"op": "stop", "job_dir", "mode": "cancel"|"stop"}  -> {"ok": true}       asks; the child ends at its next step
    {"op": "kill", "job_dir"}                       -> {"ok": true, "killed": bool}      SIGKILL to the child's session

One child per folder, held by the folder's lock: a launch beside a living child answers with that child (`already`).
SIGTERM asks every child to checkpoint and stop, and waits. A SIGKILL of this process leaves the children running; the
next launcher finds them by pid and start time, and workers follow their files all the while. Knows no database.

`loop` answers requests and watches children, `child` is what a fork does before the job's own code, `__main__` imports
and starts.
"""
