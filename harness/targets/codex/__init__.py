"""Codex CLI (Apache-2.0) as a target."""
