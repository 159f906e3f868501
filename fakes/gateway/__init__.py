"""The mock gateway: its scripts by name, and the server that plays them."""
