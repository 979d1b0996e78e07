"""The application: its commands, and how it ends.

Exit codes: 0 done; 1 some pictures of a folder could not be restored; 2 a mistake in the command or a file, told in one
line ``error: ...``; 130 interrupted. Anything unexpected keeps its traceback.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import KintsugiError, one_line

# Failures of the machine that holds the user's files, which need no traceback even where no file is named.
_STORAGE = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES}
LONGEST = 1500  # characters of a message: the words of a command line may be endless


class OneLineErrors(TyperGroup):
    """Ends with one line on stderr for a user's mistake, instead of a box or a traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.TyperException as error:
            code = _fail(error.format_message() if hasattr(error, "format_message") else str(error))
        except (KintsugiError, FloatingPointError) as error:  # the latter: settings that diverge
            code = _fail(str(error))
        except OSError as error:
            if error.filename is None and error.errno not in _STORAGE:
                raise
            code = _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
        except (typer.Abort, KeyboardInterrupt):
            code = 130
        except (RuntimeError, MemoryError) as error:
            from ..memory import ran_out

            if not ran_out(error):
                raise
            code = _fail("memory ran out")
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> int:
    print("error:", one_line(message.replace("Value error, ", ""), LONGEST), file=sys.stderr)
    return 2


app = typer.Typer(
    cls=OneLineErrors,
    help="Restore damaged pictures with a diffusion or flow model, in a few network evaluations.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"kintsugi {version('kintsugi-diffusion')}")
        except PackageNotFoundError:
            print("kintsugi, not installed as a package")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


# Each adds its commands to `app`; the order is that of --help.
from . import restore  # noqa: E402, F401, I001
from . import degrade  # noqa: E402, F401
from . import describe  # noqa: E402, F401
from . import convert  # noqa: E402, F401
from . import bench  # noqa: E402, F401
from . import tune  # noqa: E402, F401
from . import train  # noqa: E402, F401
from . import calibrate  # noqa: E402, F401
from . import ui  # noqa: E402, F401
