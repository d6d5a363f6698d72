"""Runs a command that dies with its parent: `python leash.py PARENT_PID COMMAND …`.

Even a demo that is killed with SIGKILL leaves nothing behind on Linux: the kernel sends SIGKILL
to the command when the parent is gone. The request has to be made by the child itself, between
fork and exec. A `preexec_fn` would run Python code in a forked copy of a process with gRPC's
threads, which can deadlock; this file takes 20 ms and can't. Elsewhere than on Linux it only
runs the command, and the demo's own clean-up has to do.
"""

import ctypes
import os
import signal
import sys

#: linux/prctl.h; the setting survives exec.
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for the leash, then become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent ended before this process could be tied to it")
    os.execvp(command[0], command)  # noqa: S606 - the demo's own commands


if __name__ == "__main__":
    main()
