"""Ctrl-C between two steps, when weights, optimiser and step count fit together."""

import signal
import threading


class HeldInterrupt:
    """Context in which the first Ctrl-C is only noted, to be asked for with :meth:`check`; the second acts at once.

    An interrupt in the middle of an optimiser step leaves half of the weights updated: a run that went on from there
    would not end where an uninterrupted one does. Where Python handles no signals (outside the main thread) or
    somebody else handles this one, nothing is held.
    """

    def __enter__(self) -> "HeldInterrupt":
        self.pressed = False
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._active = in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._active:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception) -> None:
        if self._active:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt where Ctrl-C was pressed since the context began."""
        if self.pressed:
            raise KeyboardInterrupt

    def _note(self, signum, frame) -> None:
        self.check()
        self.pressed = True
