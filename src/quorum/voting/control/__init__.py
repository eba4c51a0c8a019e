"""The control loop: readings of channels that may be wrong become one output in each tick, or a refusal."""
