"""Several concepts drawn and followed; started as ``tutorial.py`` is."""

from medsam3_session.drawn_prompts import check_drawn_concepts
from medsam3_session.play import play

play(check_drawn_concepts)
