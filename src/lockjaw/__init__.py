"""Lockjaw: a gateway client and embedded runner that survive the session-lock cascade.

The runtime lives here and in the packages below it; the harness that breaks it on purpose is
``lockjaw.harness``, its fakes are ``lockjaw.fakes``. The runtime never imports either.
"""

__version__ = "0.1.0"
