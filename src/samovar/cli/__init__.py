"""The `samovar` command: the composition root, where a person meets the engine."""
