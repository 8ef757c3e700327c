"""Understanding what users type: a process of its own, with the text encoder and an index of the catalogue."""
