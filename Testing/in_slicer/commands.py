"""Typed commands in panel and effect, and two segmentations beside each other; started as ``tutorial.py`` is.

Takes some minutes, because a large CT is edited.
"""

from medsam3_session.commands import check_beside, check_commands, check_large_commands
from medsam3_session.play import play

play(check_commands, check_beside, check_large_commands)
