"""Runs a command that may not outlive whoever started it: `python -m flows.leash SECONDS COMMAND…`.

Its standard input is a pipe that the starter holds open. When the pipe closes (the starter ended it, or was
killed, even with SIGKILL), or on SIGTERM, the command's whole process group gets SIGTERM, and after that many
seconds SIGKILL. It ends when the group has ended, with the command's exit code.
"""

import os
import signal
import subprocess
import sys
import threading
import time

POLL = 0.05  # seconds


def signalled(group: int, number: int) -> bool:
    """Sends a signal to a process group; 0 only asks. Returns whether there still is one."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


def end(group: int, grace: float) -> None:
    """SIGTERM to the group, and SIGKILL to what is left of it after `grace` seconds."""
    until = time.monotonic() + grace
    signalled(group, signal.SIGTERM)
    while signalled(group, 0):
        if time.monotonic() > until:
            signalled(group, signal.SIGKILL)
        time.sleep(POLL)


def main() -> int:
    grace, command = float(sys.argv[1]), sys.argv[2:]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    released = threading.Event()

    def wait_for_release() -> None:
        while os.read(0, 4096):
            pass
        released.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: released.set())
    threading.Thread(target=wait_for_release, daemon=True).start()
    while child.poll() is None and not released.wait(POLL):
        pass
    if released.is_set():
        threading.Thread(target=child.wait, daemon=True).start()  # a zombie would keep the group there
        end(child.pid, grace)
    else:
        end(child.pid, 2.0)  # what the command left behind
    return child.wait()


if __name__ == "__main__":
    code = main()
    os._exit(code if code >= 0 else 128 - code)
