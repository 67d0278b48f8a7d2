"""Addresses of this app's pages."""

from django.urls import URLPattern, path

from apps.jobs.views import detail, listing, predicting, wizard, workers

urlpatterns: list[URLPattern] = [
    path("jobs/", listing.job_list, name="job_list"),
    path("jobs/rows", listing.rows, name="job_rows"),
    path("jobs/new", wizard.new, name="job_new"),
    path("jobs/predict", predicting.new, name="prediction_new"),
    path("jobs/new/review", wizard.review, name="job_review"),
    path("jobs/new/first-batch", wizard.first_batch, name="job_first_batch"),
    path("jobs/<slug:public_id>/", detail.page, name="job_detail"),
    path("jobs/<slug:public_id>/live", detail.live, name="job_live"),
    path("jobs/<slug:public_id>/results", detail.results, name="job_results"),
    path("jobs/<slug:public_id>/curves", detail.curves, name="job_curves"),
    path("jobs/<slug:public_id>/confusion", detail.confusion, name="job_confusion"),
    path("jobs/<slug:public_id>/scatter", detail.scatter, name="job_scatter"),
    path("jobs/<slug:public_id>/log", detail.log, name="job_log"),
    path("jobs/<slug:public_id>/per-class.csv", detail.per_class_csv, name="job_per_class"),
    path("jobs/<slug:public_id>/artifacts/<slug:name>", detail.artifact, name="job_artifact"),
    path("jobs/<slug:public_id>/do/<slug:action>", detail.act, name="job_act"),
    path("jobs/<slug:public_id>/<slug:tab>", detail.page, name="job_tab"),
    path("workers/", workers.worker_list, name="worker_list"),
]
