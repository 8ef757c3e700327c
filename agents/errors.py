"""Errors a person can act on, as the command line says them.

    click.ClickException
    └── Problem        exit status 1: what, where, and the remedy

Errors of the edges (`millstream.streams.errors.Unavailable`) and of the settings (`WrongSettings`) become a `Problem`
in one place, the command group in `millstream.agents.cli`.
"""

from __future__ import annotations

import click


class Problem(click.ClickException):
    """Something a person can mend. The message says what happened, where, and the remedy; the exit status is 1."""
