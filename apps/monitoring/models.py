"""Rows of monitoring, by subject."""

from apps.monitoring.request_models import Feedback, Rating, RequestSample

__all__ = ["Feedback", "Rating", "RequestSample"]
