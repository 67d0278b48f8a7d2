"""What every training loop needs and no task owns."""
