"""The engine in its own process: a service that keeps models, volumes and features, and the client that asks it."""
