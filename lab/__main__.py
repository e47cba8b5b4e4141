"""The entry point, also as `python -m lab`.

Python exits with 1 when an import fails, and `git bisect run` takes 1 for "this commit is bad": a broken installation of
the lab must not blame a kernel. So even the import of the command line happens inside a try, and what there is to say is said
to nobody where standard error cannot be written.
"""

import contextlib
import os
import sys
import traceback


def main() -> None:
    """Run lab and exit."""
    _open_streams()
    try:
        from lab import cli
    except Exception:
        with contextlib.suppress(OSError):
            traceback.print_exc()
            print("lab: the installation is broken; this is not the kernel's doing", file=sys.stderr, flush=True)
        os._exit(128)  # without the flush of streams at the end, which may fail and then ends with 120
    cli.main()


def _open_streams() -> None:
    """Let streams that were closed (`lab … >&-`) lead nowhere: else the next file that is opened takes their number.

    In this order, as the lowest number that is free is taken. Source: open(2).
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


if __name__ == "__main__":
    main()
