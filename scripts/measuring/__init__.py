"""What scripts/precision.py measures."""
