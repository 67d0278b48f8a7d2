"""What is measured of a version besides the metrics of its task: by a compression, of the variant and its parent."""

from __future__ import annotations

from django.utils.translation import gettext_noop as _

from modelkit.contracts import Metric

#: Scores that compression reports beside a task's own metrics.
SCORES = (
    Metric("agreement", _("Agreement"), _("Part of the rows that get the same answer as from the parent.")),
    Metric("mean_drift", _("Mean drift"), _("Mean absolute change of a probability."), "", False),
    Metric("max_drift", _("Largest drift"), _("Largest absolute change of a probability."), "", False),
    Metric("p50_ms", _("p50"), _("Half of single requests are answered within this."), "ms", False),
    Metric("p95_ms", _("p95"), _("95 of 100 single requests are answered within this."), "ms", False),
    Metric("size_bytes", _("Size"), _("All files of the bundle."), "bytes", False),
    Metric("graph_bytes", _("Graph"), _("The model file alone."), "bytes", False),
    Metric("peak_memory_bytes", _("Peak memory"), _("Most memory while answering."), "bytes", False),
    Metric("throughput_rows_s", _("Throughput, rows a second"), _("Of all inputs at once."), "rows/s"),
)
