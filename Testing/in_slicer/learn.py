"""*Learn from my segments* with the demo model, to its end and cancelled; started as ``tutorial.py`` is.

Takes minutes: a process of its own trains for 80 steps. Needs the engine's packages, so ``--model fake`` only says so.
"""

from medsam3_session.learning import check_learning
from medsam3_session.play import play

play(check_learning)
