"""Faults against a real pipeline, by a seed: what was lost, doubled, computed differently, or went backwards."""
