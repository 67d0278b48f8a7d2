"""Text classification: one label for each text."""
