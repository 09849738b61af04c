"""The journal: what is written down of runs, actions, replicas and pools.

``choice`` opens one, ``writer`` commits in groups beside the engine, ``memory`` and ``sql`` keep what is written. The
engine calls them through ``samovar.ports.Journal``. An action has one row, and nothing can settle it twice.
"""
