"""Keepers of replicas: each module implements ``samovar.ports.Driver`` for one kind of world.

An engine is given one by the composition root and knows nothing else of it; all of them pass
``tests/conformance/driver``.
"""
