"""The pure core: parts that learn from each event, the step that joins them, evaluation and simulation; no I/O."""
