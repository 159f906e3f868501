"""Fake model servers: scripts, wires of the vendors, the server and its twin in memory."""
