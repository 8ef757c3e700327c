"""One file a command: `agents/commands/NAME.py` holds `command`, and is imported only when NAME is typed."""
