"""Start shim: makes the kernel end a child when its parent dies, then becomes the child's program.

Run as a script by the harness. A hook between fork and exec in the parent would not be safe in a process with
threads, which the harness is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
