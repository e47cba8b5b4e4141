"""The entry point, also as `python -m lab`.

Python exits with 1 when an import fails, and `git bisect run` takes 1 for "this commit is bad": a broken installation of
the lab must not blame a kernel. So even the import of the command line happens inside a try.
"""

import sys
import traceback


def main() -> None:
    """Run lab and exit."""
    try:
        from lab import cli
    except Exception:
        traceback.print_exc()
        print("lab: the installation is broken; this is not the kernel's doing", file=sys.stderr)
        sys.exit(128)
    cli.main()


if __name__ == "__main__":
    main()
