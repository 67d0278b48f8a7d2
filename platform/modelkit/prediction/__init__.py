"""Batch prediction: a model's answers to every row of a dataset version or of a user's file."""
