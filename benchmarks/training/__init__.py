"""What training on Banking77 reaches and costs: `python -m benchmarks.training`, or `make bench-training`."""
