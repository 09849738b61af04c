"""The wire between an engine and its peers: frames, the sans-I/O session, and the payload that carries values."""
