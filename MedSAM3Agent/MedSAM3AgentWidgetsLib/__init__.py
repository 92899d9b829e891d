"""Qt parts and timers that the agent's panel and console share."""
