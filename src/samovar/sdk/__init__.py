"""What a user declares and calls: environments, tasks, images, runs.

It is imported by every script and in every replica, so it is light and does no I/O of its own: whoever carries out
a call stands behind the ports in ``controller``. The public names are in ``samovar`` itself.
"""
