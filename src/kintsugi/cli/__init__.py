"""The command line. Nothing heavy is imported before a command needs it, so that ``kintsugi --help`` is quick."""

from .app import app

__all__ = ["app", "main"]


def main() -> None:
    """What the ``kintsugi`` script runs."""
    app()
