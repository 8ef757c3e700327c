"""What flows: records and columns, the wire forms they come in, and the rules that make a message an event."""
