"""Jobs: the queue, their life cycle and their record."""
