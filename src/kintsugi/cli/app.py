"""The application: its commands, and how it ends.

Exit codes: 0 done; 1 some pictures of a folder could not be restored; 2 a mistake in the command or a file, told in one
line ``error: ...``; 130 interrupted, told in one line too. Anything unexpected keeps its traceback.
"""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import KintsugiError, one_line
from ..interrupt import remembered

# Failures of the machine that holds the user's files, which need no traceback even where no file is named.
_STORAGE = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES}
INTERRUPTED = 130  # the exit code
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
        if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may hold what no encoding has
            sys.stdout.reconfigure(errors="backslashreplace")
        with remembered() as ctrl_c:
            try:
                code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
            except SystemExit:
                raise
            except BaseException as error:
                message = _message(error)
                if ctrl_c.asked or isinstance(error, typer.Abort | KeyboardInterrupt):
                    code = INTERRUPTED
                elif message is None:
                    raise
                else:
                    code = _fail(message)
        if code == INTERRUPTED:  # typer turns Ctrl-C into it
            tell_interrupted(args)
        sys.exit(code if isinstance(code, int) else 0)


def tell_interrupted(args: Sequence[str] | None = None) -> None:
    """The one line of a command that Ctrl-C ended. Processes that another started leave it to that one."""
    if "--as-worker" not in (sys.argv[1:] if args is None else args):
        print("interrupted; the same command again goes on", file=sys.stderr)


def _message(error: BaseException) -> str | None:
    """What to tell of an error that the user, or the machine, has caused; None for any other."""
    if isinstance(error, typer.TyperException):
        return error.format_message() if hasattr(error, "format_message") else str(error)
    if isinstance(error, KintsugiError | FloatingPointError):  # the latter: settings that diverge
        return str(error)
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _STORAGE):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if isinstance(error, RuntimeError | MemoryError):
        from ..memory import ran_out

        return "memory ran out" if ran_out(error) else None
    return None


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
from . import sample  # noqa: E402, F401
from . import ui  # noqa: E402, F401
