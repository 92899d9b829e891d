"""The subcommands of ``medsam3``, one module each, and what they share. Nothing here imports torch at the top."""
