"""The command ``posestream``: checks that its own packages are imported, then runs the command line."""

from __future__ import annotations

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends the process without a traceback

from posestream.shadowing import ShadowedPackageError, check_packages, import_ours


def main() -> None:
    """Run the command line. A package that shadows one of posestream's is one line on stderr, and exit code 1."""
    try:
        check_packages()
        command = import_ours("stream.__main__")
    except ShadowedPackageError as error:
        print(f"posestream: {error}", file=sys.stderr)
        sys.exit(1)
    command.main()


if __name__ == "__main__":
    main()
