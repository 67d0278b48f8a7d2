"""Rows of monitoring, by subject."""

from apps.monitoring.request_models import Feedback, Rating, RequestSample
from apps.monitoring.traffic_models import HOUR_S, MINUTE_S, JournalFile, TrafficStat

__all__ = ["HOUR_S", "MINUTE_S", "Feedback", "JournalFile", "Rating", "RequestSample", "TrafficStat"]
