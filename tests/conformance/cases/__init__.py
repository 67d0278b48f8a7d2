"""What the suite needs of each task: data, a base model and settings, all tiny."""
