"""One score for every model: quality, parity, latency and footprint, the same for a baseline and its variants."""
