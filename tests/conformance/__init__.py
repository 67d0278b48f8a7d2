"""What every task and every compression method must do. Green means done.

A new task adds `cases/<task>.py` here, or a `conformance.py` in its own folder; a new method adds nothing.
"""
