"""``python -m kintsugi``: the command line."""

from .cli import main

main()
