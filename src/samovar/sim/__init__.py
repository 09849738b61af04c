"""The unchanged core under a virtual clock, in a made-up world: to find what is wrong with it, and to try policies.

``python -m samovar.sim`` runs worlds made from seeds, each judged by a checker that counts for itself, or a workload
that a user describes, of which it reports what each policy would do. Nothing else calls this room, and it needs only
``core``, ``model`` and ``errors``. A world has one source of chance and one clock, so a seed has the same history
everywhere.
"""
