"""Where Slicer is left, and how."""

#: How far a session has come.
STAGES = ("panel", "run", "effect")

#: By Python, or by closing the window and agreeing to what Slicer asks then.
WAYS = ("exit", "close")
