"""The real program: published OpenClaw packages as target, client and peer.

Nothing of OpenClaw is part of Lockjaw. Its packages are installed on demand, run unmodified in a network namespace
that has only loopback, and are looked at from outside: what they print, which lock files they make, what they write
into their transcripts, what the fake model server was asked.
"""
