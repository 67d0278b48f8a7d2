"""Measurements: never part of the tests, since a speed is not a property of the code alone."""
