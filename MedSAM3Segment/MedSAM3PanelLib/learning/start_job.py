"""From chosen segments to a process that learns from them, which has the memory of the engine's models."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from MedSAM3SceneLib.coroutines import StepGenerator, run_in_thread
from MedSAM3SceneLib.engine import connection
from MedSAM3SceneLib.learning.learnable_segments import LearnableSegment
from MedSAM3SceneLib.learning.read_cases import write_cases
from MedSAM3SegmentLib.engine.learning.job_folder import JobFolder
from MedSAM3SegmentLib.engine.learning.learning_process import LearningJob, start_learning
from MedSAM3SegmentLib.engine.learning.records import LearningOrder
from MedSAM3SegmentLib.errors import MedSAM3Error


def start_job(
    chosen: list[LearnableSegment], folder: JobFolder, order: LearningOrder
) -> StepGenerator[tuple[LearningJob, bool]]:
    """Read segments and start the job; its folder may be gone by then, where it was cancelled.

    Returns:
        The job, and whether the engine was asked to make room for it.
    """
    modalities = yield from write_cases(chosen, folder)
    order = replace(order, modality=" and ".join(modalities))

    def start() -> tuple[LearningJob, bool]:
        is_unloaded = False
        # An engine that does not answer is no reason not to learn.
        with suppress(MedSAM3Error):
            is_unloaded = connection.unload_local()
        return start_learning(folder, order), is_unloaded

    return (yield from run_in_thread(start))
