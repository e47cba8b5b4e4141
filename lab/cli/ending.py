"""How the process of lab ends: its exit code (docs/exit-codes.md), its last words, and what Ctrl-C and a lost terminal do.

Whatever fails here must not end with 1 or 120, as Python would: `git bisect run` takes them for the kernel's doing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

import typer

from lab import __version__
from lab.errors import ExitCode, LabError, understood
from lab.report import plain


def exit_code_of(app: Callable[..., object], arguments: Sequence[str] | None = None) -> int:
    """Run the commands of `app` and return the exit code; prints every error the way it deserves."""
    # a service manager's stop is an interrupt; so is an interrupt, also in a script's background job, which ignores it else
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    on_hangup(interrupt)
    try:
        outcome = app(args=list(arguments) if arguments is not None else None, standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that has gone away is still ours to handle
    except typer.TyperException as error:
        # the option parser's own complaints; its exit code 2 would be "bad" to git bisect
        command = " ".join(["lab", *(word for word in (arguments or sys.argv[1:])[:1] if not word.startswith("-"))])
        tell(f"{plain.one_line(str(error))}\n  hint: {command} --help")
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        tell("lab: interrupted")
        return ExitCode.INTERRUPTED
    except LabError as error:
        tell(str(error))
        return error.exit_code
    except (BrokenPipeError, SystemExit):
        # whoever read our output has gone away; typer turns that into sys.exit(1), which would be "bad" to git bisect
        let_go()
        return ExitCode.LAB_FAULT
    except Exception as error:
        if isinstance(fault := understood(error), LabError):
            tell(str(fault))
            return fault.exit_code
        tell(
            f"{traceback.format_exc()}lab {__version__}: this is a bug of the lab, not of the kernel; please report it"
        )
        return ExitCode.LAB_FAULT
    return outcome if isinstance(outcome, int) else ExitCode.AS_EXPECTED


# ---------------------------------------------------------------------------------------------------------- last words


def tell(text: str) -> None:
    """Print to standard error. Where that is a file on a full disk, or closed, nobody is told, and nothing else changes."""
    with contextlib.suppress(OSError, ValueError):
        print(plain.plain(text), file=sys.stderr, flush=True)


def let_go() -> None:
    """Write out what is left for both streams, or drop it: where that fails at its exit, Python ends with 120.

    Raises nothing; whoever must know whether all was written flushes before.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# ------------------------------------------------------------------------------------------------------------- signals


def interrupt_once(stop: threading.Event) -> None:
    """Let the first Ctrl-C finish nothing new and report, and the second one end lab at once."""

    def interrupted(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        tell("lab: stopping; once more to leave at once")

    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    on_hangup(stop.set)


def interrupt() -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


def on_hangup(act: Callable[[], object]) -> None:
    """Do something when the terminal goes away, once: shell and kernel may both say so. Under nohup(1) it is of no matter."""

    def hung_up(number: int, frame: object) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        act()

    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, hung_up)
