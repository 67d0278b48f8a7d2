"""One module per area; `workers.app` imports them so that each task is registered under its name."""
