"""Whether feedback agrees with what was answered: known once both the feedback and the sample are there."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, QuerySet

from apps.monitoring.models import Feedback, Rating, RequestSample


def feedback_judge(feedback: Feedback, sample: RequestSample | None) -> None:
    """Set what follows from the sample; without one, a rating speaks for itself and a label waits. Saves nothing."""
    if sample is not None:
        feedback.revision = sample.revision
        outputs = sample.outputs
        predicted = outputs[feedback.index].get("label", "") if feedback.index < len(outputs) else ""
        feedback.predicted = str(predicted)[:500]
    if feedback.label and feedback.predicted:
        feedback.agrees = feedback.label == feedback.predicted
    elif feedback.rating:
        feedback.agrees = feedback.rating == Rating.UP
    else:
        feedback.agrees = None


def feedback_join(waiting: QuerySet[Feedback]) -> int:
    """Give every one of `waiting` whose sample is there what follows from it; returns how many."""
    joined = 0
    # Most requests are never sampled: asked for one by one, their feedback would cost a query each, again and again.
    samples = RequestSample.objects.filter(endpoint=OuterRef("endpoint"), request_id=OuterRef("request_id"))
    for feedback in waiting.filter(Exists(samples)).iterator():
        sample = sample_of(feedback.endpoint_id, feedback.request_id)
        if sample is not None:
            feedback_judge(feedback, sample)
            # Not the whole row: its author may be changing their mind.
            known = {"revision": feedback.revision, "predicted": feedback.predicted, "agrees": feedback.agrees}
            same = Feedback.objects.filter(pk=feedback.pk, label=feedback.label, rating=feedback.rating)
            joined += same.update(**known)
    return joined


def sample_of(endpoint_id: int, request_id: str) -> RequestSample | None:
    """The newest sample of a request: a caller who names requests may use a name twice."""
    return RequestSample.objects.filter(endpoint_id=endpoint_id, request_id=request_id).order_by("-pk").first()
