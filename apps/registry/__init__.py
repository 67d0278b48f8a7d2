"""Base models, registered models, versions and aliases; the gateway to MLflow."""
