"""The HTTP API of a station and its pages (``docs/dashboard.md``). Entered by ``cli`` alone, through ``server``."""
