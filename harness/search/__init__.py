"""Searches the schedules of a scenario, shrinks what it finds, and goes through the whole catalogue."""
