"""OpenHands agent-server: a lease file with a generation for each conversation; the fallback is a second server."""
