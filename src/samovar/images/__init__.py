"""What a driver can start, made from an ImageSpec: for processes that is the Python of a venv.

Called by drivers in ``prepare``. What is made is found by its content and made once a machine.
"""
