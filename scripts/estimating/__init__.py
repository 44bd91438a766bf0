"""What scripts/estimate.py measures a run by."""
