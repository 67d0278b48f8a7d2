"""Measurements, each a script that compares two things in one run; no test reads a clock."""
