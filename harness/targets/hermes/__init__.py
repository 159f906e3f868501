"""hermes-agent (MIT) as a target."""
