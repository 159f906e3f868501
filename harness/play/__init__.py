"""One run, whatever the world."""
