"""HAProxy as Ray Serve starts it, with what Ray's configuration of it leaves out.

Ray runs the script that `wrapped` writes in place of the program. It adds a deadline to the
configuration and the address that Serve cannot give (`BIND`), keeps HAProxy's own pages from other
machines, and binds the process to the life of its parent, Ray's actor: one that is killed while it
reloads would leave every HAProxy that still serves a client. This file is that script's program, so
it needs the standard library alone.
"""

import ctypes
import os
import re
import shlex
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
HEAD_S = 10  # for a request's head to arrive
BIND = "SFUMATO_HAPROXY_BIND"
"""The variable that holds a `bind` line's address, a space, and what stands there instead."""
_OPEN_PAGE = re.compile(r"^((?:frontend prometheus|listen stats)\n\s+bind) \*?:", re.MULTILINE)


def wrapped(program: str, folder: Path) -> str:
    """Write a script that runs HAProxy so into a folder; return its path.

    Where the folder's file system runs no programs, it is the program's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "haproxy"
    command = shlex.join([sys.executable, "-I", "-S", str(Path(__file__).resolve()), program])
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    script.chmod(0o700)
    if not os.access(script, os.X_OK):  # the folder's file system does not run programs
        return program
    return str(script)


def bounded(config: str) -> str:
    """Return a configuration of Ray's with a deadline for a request's head."""
    return config.replace("\ndefaults\n", f"\ndefaults\n    timeout http-request {HEAD_S}s\n", 1)


def on_loopback(config: str) -> str:
    """Return a configuration of Ray's whose metrics and statistics are for this machine alone."""
    return _OPEN_PAGE.sub(r"\1 127.0.0.1:", config)


def rebound(config: str, bind: str) -> str:
    """Return a configuration that listens on another address."""
    former, _, address = bind.partition(" ")
    return config.replace(f"bind {former}\n", f"bind {address}\n")


def main(program: str, *words: str) -> None:
    """Become HAProxy."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if "-f" in words:
        config = Path(words[words.index("-f") + 1])
        text = config.read_text()
        if "timeout http-request" not in text:
            config.write_text(rebound(on_loopback(bounded(text)), os.environ.get(BIND, "")))
    os.execv(program, [program, *words])  # nosec B606 # as Ray called it


if __name__ == "__main__":
    main(*sys.argv[1:])
