"""The processes: the Faust app and its agents, what wires them together, and the command line."""
