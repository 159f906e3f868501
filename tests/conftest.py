"""Signals as a terminal gives them: whatever a shell starts in the background ignores Ctrl-C, and so would everything
that a test starts and interrupts."""

from __future__ import annotations

import signal

for number, ordinary in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, ordinary)
