"""Come so far and leave Slicer; started as ``tutorial.py`` is, with ``--stage`` and ``--way`` behind the script.

What there is to see is Slicer's own exit code: ``run.py exits`` counts it over all stages and ways.
"""

from medsam3_session.play import arguments, play
from medsam3_session.stages import leave, reach
from medsam3_session.ways import STAGES, WAYS

given = arguments(stage=STAGES, way=WAYS)
play(lambda session: reach(session, given.stage), leave=lambda code: leave(given.way, code), given=given)
