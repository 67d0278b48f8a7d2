"""Where a job's happenings go: the event file beside the job, MLflow, or memory in tests."""
