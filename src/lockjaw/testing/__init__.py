"""What the pytest plugin hands to tests. Imported when a fixture is used, never when pytest starts."""
