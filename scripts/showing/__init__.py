"""The parts of scripts/show_position.py: a layer's bias and turn, its attention on a text, the figures."""
