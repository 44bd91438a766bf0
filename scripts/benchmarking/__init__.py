"""The parts of scripts/benchmark.py: what is timed, whom it is timed beside, how it is shown."""
