"""What everybody stands on: errors, Batch, seeds, device and dtype, atomic files."""
