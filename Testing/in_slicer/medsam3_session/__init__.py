"""What the scripts beside this folder share: a session with the extension in a real Slicer, and what is checked of it.

``lines``, ``colors``, ``log_kinds`` and ``stretches`` need no Slicer. The checks are generators: what they yield is
waited for while Slicer's own event loop runs, so that the window does what it does for a person.
"""
