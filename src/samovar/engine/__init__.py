"""The shell round the core: links that carry frames, and the engine that turns them into events and commands into I/O."""
