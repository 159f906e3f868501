"""opencode (MIT) as a target."""
