"""Who takes part: pure functions from one configuration to the next."""
