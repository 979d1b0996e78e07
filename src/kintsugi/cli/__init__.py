"""The command line. Nothing heavy is imported before a command needs it, so that ``kintsugi --help`` is quick."""

from .app import INTERRUPTED, app, tell_interrupted

__all__ = ["app", "main"]


def main() -> None:
    """What the ``kintsugi`` script runs."""
    try:
        app()
    except KeyboardInterrupt:  # while the commands were still being made
        tell_interrupted()
        raise SystemExit(INTERRUPTED) from None
