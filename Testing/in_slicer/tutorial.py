"""The README's tutorial in Slicer, and what is logged meanwhile.

``run.py`` starts it; by hand, in a clone of the repository::

    Slicer --additional-module-paths MedSAM3Segment --python-script Testing/in_slicer/tutorial.py
"""

from medsam3_session.play import play
from medsam3_session.tutorial import check_tutorial

play(check_tutorial)
