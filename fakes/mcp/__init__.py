"""A tool with effects, served by MCP, and the ledger that its effects are counted in."""
