"""What a driver can start, made from an ImageSpec: for processes the Python of a venv, for containers an OCI image.

Called by drivers in ``prepare``, and by ``samovar images``. What is made is found by its content and made once a
machine. ``venv`` makes the one, ``oci`` the other: ``containerfile`` writes its text, ``context`` gathers its files,
``base`` finds what it starts from, ``build`` has it built, ``store`` knows what there is.
"""
