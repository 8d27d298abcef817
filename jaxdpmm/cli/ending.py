"""Ending early: Ctrl-C, SIGTERM and SIGHUP end a command within three seconds, and what is done is kept.

Python handles a signal between two of its own instructions, in the main thread. While that thread compiles, loads a
library or reads a file in native code nothing happens, and an exception that is raised in the wrong place (a callback,
`__del__`) is printed and forgotten. Hence two ways out. The handler raises `KeyboardInterrupt`, which cleans up on its
way as any error does. And a second thread hears of the signal through a socket (`signal.set_wakeup_fd`), whatever the
main thread does, so long as it lets go of the interpreter's lock, as XLA, NumPy and Pillow do; when the process is
still there after `PATIENCE` it writes what `keeping` was told of, and ends the process. Where an exception would do
harm (`_can_raise`) the handler does so itself. Files are renamed into place (`../storage/files.py`), so none is ever
half written. A second signal ends the process at once.

Only the standard library is imported here, and all of it at the start: later the main thread may hold an import's lock.
Next file to read: `__init__.py`.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

PATIENCE = 1.0  # seconds for the main thread to end by itself
ECHO = 0.3  # seconds in which a repeated signal is the same one, passed on by a shell or another program
READER_GONE = 141  # exit status when nobody reads the output any more: 128 + SIGPIPE

_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
_NAMES = {int(getattr(signal, name)): name for name in _WORDS if hasattr(signal, name)}

_received: list[int] = []  # signals so far
_writes: list[Callable[[], None]] = []
_writing, _telling = threading.RLock(), threading.Lock()


def received() -> int | None:
    """The signal that asked this process to end; None when there was none."""
    return _received[0] if _received else None


def status_of(number: int) -> int:
    """Exit status of a command that a signal has ended, as shells have it."""
    return 128 + number


def tell(number: int) -> None:
    """Tell the user what ended the command, unless the other thread has."""
    if received() is None or _telling.acquire(blocking=False):
        with contextlib.suppress(OSError):  # there may be no terminal any more
            print(_sentence(number), file=sys.stderr, flush=True)


@contextlib.contextmanager
def keeping(write: Callable[[], None]) -> Iterator[None]:
    """Call `write` at the end of the block however it ends, and also when the process is ended from within it.

    Args:
        write: writes what is done so far, whole; it may be called from another thread, and twice.
    """
    _writes.append(write)
    try:
        yield
    finally:
        _write(write)


def write_the_rest() -> None:
    """Write what a signal came in the way of; an error in it leaves nothing more to be done."""
    with _writing:
        while _writes:
            with contextlib.suppress(Exception):
                _write(_writes[-1])


class Watch:
    """Heeds signals from `begin` on, for the rest of the process.

    Signals that are ignored (`nohup`, background jobs of a shell) or have a handler already stay as they are.
    """

    def __init__(self) -> None:
        self._heeded: frozenset[int] = frozenset()
        self._first: float | None = None  # when the first signal came
        self._over = False  # nothing is left to write

    def begin(self) -> None:
        """Take over the signals; only the main thread can, from another nothing is done."""
        if threading.current_thread() is not threading.main_thread():
            return
        usual = (signal.SIG_DFL, signal.default_int_handler)
        self._heeded = frozenset(n for n in _NAMES if signal.getsignal(n) in usual)
        reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(reader,), daemon=True).start()
        _silence(sys, "excepthook")
        _silence(sys, "unraisablehook")
        _silence(threading, "excepthook")
        for number in self._heeded:
            signal.signal(number, self._handle)

    def close(self) -> None:
        """Say that all is written: from now on a signal ends the process at once."""
        self._over = True

    def leave(self, status: int) -> None:
        """End the process: as Python does, or at once after a signal or when its output cannot be written."""
        self.close()
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:
            os._exit(status)
        if received() is not None or status == READER_GONE:
            os._exit(status)
        sys.exit(status)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Of the main thread; raises once, so that nothing is disturbed in cleaning up."""
        if self._over or _received:
            return
        _received.append(number)
        if _can_raise(frame):
            raise KeyboardInterrupt
        write_the_rest()
        tell(number)
        os._exit(status_of(number))

    def _listen(self, reader: socket.socket) -> None:
        """Of the second thread: start the end at the first signal, and end at the next one."""
        while content := reader.recv(1):
            number, now = content[0], time.monotonic()
            if number not in self._heeded:
                continue
            if self._over or (self._first is not None and now - self._first > ECHO):
                os._exit(status_of(received() or number))
            if self._first is None:
                self._first = now
                threading.Thread(target=self._end, args=(number,), daemon=True).start()

    def _end(self, number: int) -> None:
        """End the process, if it has not ended by then."""
        time.sleep(PATIENCE)
        write_the_rest()
        if _telling.acquire(blocking=False):
            with contextlib.suppress(OSError):
                os.write(2, f"\n{_sentence(number)}\n".encode())  # a bar may be on the line
        os._exit(status_of(number))


def _write(write: Callable[[], None]) -> None:
    with _writing:
        if write not in _writes:  # the other thread has done it
            return
        try:
            write()
        except Exception:
            _writes.remove(write)
            raise
        _writes.remove(write)  # after a KeyboardInterrupt it stays, for `write_the_rest`


def _sentence(number: int) -> str:
    return f"{_WORDS[_NAMES[number]]}; every file written so far is complete"


def _can_raise(frame: FrameType | None) -> bool:
    """Whether an exception does no harm here; within imports and within JAX it does, and there is nothing to clean up.

    Extension modules crash when an exception comes while they are loaded (jaxlib and NumPy, segmentation fault), and
    jaxlib when one leaves a compilation, whose threads go on with what is freed then.
    """
    found = getattr(sys.modules.get("jax"), "__file__", None)
    jax = os.path.join(os.path.dirname(found), "") if found else "<frozen importlib"
    while frame is not None:
        if frame.f_code.co_filename.startswith(("<frozen importlib", jax)):
            return False
        frame = frame.f_back
    return True


def _silence(module: object, hook: str) -> None:
    """Let a hook for errors that nobody catches pass over those that a signal has brought about."""
    usual = getattr(module, hook)
    setattr(module, hook, lambda *told: None if _received else usual(*told))
