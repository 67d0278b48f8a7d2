"""Endpoints, revisions and traffic: desired state and what is observed."""
