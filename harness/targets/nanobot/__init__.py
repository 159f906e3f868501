"""nanobot-ai (MIT) as a target."""
