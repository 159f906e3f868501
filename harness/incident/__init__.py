"""The language of a scenario: data only."""
