"""Contenders for a lock that can be killed, paused, leaked and lied about."""
