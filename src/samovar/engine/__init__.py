"""The shell round the core: links carry frames, the engine makes them events and carries out the commands."""
