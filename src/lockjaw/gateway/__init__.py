"""The gateway: its frames and identity, the client, and the server that runs turns."""
