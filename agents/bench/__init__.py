"""Paired measurements: one file a bench, each figure beside a baseline that was measured in the same run."""
