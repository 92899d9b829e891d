"""Going through the cases of a cohort: the most doubtful first, each accepted, corrected or flagged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedSAM3SceneLib.cohort.case_nodes import (
    CaseFiles,
    OpenCase,
    add_case,
    find_images,
    read_case,
    remove_case,
    segments_now,
    write_corrected,
)
from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SceneLib.mrml.sample_data import show_along_its_planes
from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.cohort.case import Case
from MedSAM3SegmentLib.cohort.review import (
    CohortCase,
    ReviewStatus,
    corrected_path,
    read_cohort,
    write_review,
)
from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3WidgetsLib.background_task import BackgroundTask

from .cohort_table import CohortTable

#: Under which the images of the cohort that was opened last are remembered, and its output folder.
_IMAGES_SETTING, _FOLDER_SETTING = "MedSAM3Segment/cohortImages", "MedSAM3Segment/cohortFolder"


class CohortSection:
    """The section *Cohort* of the panel.

    Args:
        ui: the panel's widgets.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._output: Path | None = None
        self._cases: list[CohortCase] = []
        self._images: Mapping[str, Case] = {}
        self._task = BackgroundTask()
        self.opened: OpenCase | None = None
        settings = slicer.app.userSettings()
        ui.cohortFolderEdit.currentPath = settings.value(_FOLDER_SETTING) or ""
        ui.cohortImagesEdit.currentPath = settings.value(_IMAGES_SETTING) or ""
        self._table = CohortTable(ui.cohortTable, self._selected)
        for button, does in (
            (ui.openCohortButton, self.open),
            (ui.nextCaseButton, self.open_next),
            (ui.acceptCaseButton, self.accept),
            (ui.correctCaseButton, self.correct),
            (ui.flagCaseButton, self.flag),
        ):
            button.connect("clicked()", does)
        ui.cohortFolderEdit.connect("currentPathChanged(QString)", lambda _path: self.update())
        self._say("")
        self.update()

    @property
    def is_busy(self) -> bool:
        return self._task.is_busy

    def open(self) -> None:
        """List the cases of the chosen folder, and show the first that nobody looked at."""
        folder, images = self._ui.cohortFolderEdit.currentPath, self._ui.cohortImagesEdit.currentPath
        if self.is_busy or not folder or not self._may_leave():
            return
        output = Path(folder)

        def read() -> tuple[list[CohortCase], Mapping[str, Case]]:
            cases = read_cohort(output)
            ids = [case.record.case for case in cases]
            return cases, find_images(Path(images), ids, output) if images else {}

        def show(found: tuple[list[CohortCase], Mapping[str, Case]]) -> None:
            self._output = output
            self._cases, self._images = found
            settings = slicer.app.userSettings()
            settings.setValue(_FOLDER_SETTING, folder)
            settings.setValue(_IMAGES_SETTING, images)
            self._table.show(self._cases)
            self.open_next()

        self._close_case()
        self._work(_("Reading the cohort ..."), read, show)

    def open_next(self) -> None:
        """Show the most doubtful case that nobody looked at yet."""
        current = self.opened.files.case.record.case if self.opened is not None else ""
        for case in self._cases:
            if case.review is None and not case.record.failure and case.record.case != current:
                self._open_case(case)
                return
        waiting = [case for case in self._cases if case.review is None and not case.record.failure]
        self._say(_("Only this case is left.") if waiting else _("Every case was looked at."))
        self.update()

    def accept(self) -> None:
        """Keep that the result is right, and go on."""
        opened = self.opened
        if opened is None or self.is_busy:
            return
        if opened.is_edited:
            self._say(_("The segmentation was edited; click Correct, which saves it, or open the case again."))
            return
        self._keep(opened, ReviewStatus.ACCEPTED, _file_kept(opened))

    def flag(self) -> None:
        """Keep that somebody should look at the case again, with a remark, and go on."""
        opened = self.opened
        if opened is None or self.is_busy:
            return
        if not self._remark():
            self._say(_("Type a remark that says what is the matter."))
            return
        if self._may_leave():
            self._keep(opened, ReviewStatus.FLAGGED, _file_kept(opened))

    def correct(self) -> None:
        """Save the segmentation as it is now beside the original, and go on."""
        opened, output = self.opened, self._output
        if opened is None or output is None or self.is_busy:
            return
        if not opened.is_in_scene:
            self._say(_("The segmentation was removed from the scene; open the case again."))
            return
        if not opened.is_edited:
            self._say(_("Nothing was edited; edit the segmentation first, or click Accept."))
            return
        path = corrected_path(output, opened.files.case.record.case)
        question = _("{file} is there already, from an earlier correction. It is replaced.").format(file=path.name)
        if path.exists() and not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("MedSAM3 Segment")):
            return
        segments = segments_now(opened)

        def write() -> str:
            return write_corrected(output, opened, segments)

        self._work(_("Saving the correction ..."), write, lambda file: self._keep(opened, ReviewStatus.CORRECTED, file))

    def scene_closes(self) -> None:
        """Let go of the nodes; the cases stay listed."""
        self._task.stop()
        self.opened = None
        self._say("")
        self.update()

    def close(self) -> None:
        """The panel goes away."""
        self._task.stop()

    def update(self) -> None:
        """Enable what can be pressed."""
        ui, is_free = self._ui, not self.is_busy
        ui.openCohortButton.enabled = is_free and bool(ui.cohortFolderEdit.currentPath)
        ui.cohortTable.enabled = is_free
        ui.nextCaseButton.enabled = is_free and bool(self._cases)
        for button in (ui.acceptCaseButton, ui.correctCaseButton, ui.flagCaseButton, ui.caseRemarkEdit):
            button.enabled = is_free and self.opened is not None

    def _selected(self, case: CohortCase) -> None:
        if self.opened is None or self.opened.files.case.record.case != case.record.case:
            self._open_case(case)

    def _open_case(self, case: CohortCase) -> None:
        output = self._output
        if self.is_busy or output is None:
            return
        if not self._may_leave():
            self._table.mark(self.opened.files.case if self.opened is not None else case)
            return
        self._close_case()
        self._table.mark(case)
        if case.record.failure:
            self._say(case.record.failure)
            self.update()
            return
        image = self._images.get(case.record.case)
        self._work(_("Reading the case ..."), lambda: read_case(output, case, image), self._show_case)

    def _show_case(self, files: CaseFiles) -> None:
        self.opened = add_case(files)
        if self.opened.volume_node is not None:
            show_along_its_planes(self.opened.volume_node)
        case = files.case
        self._ui.caseRemarkEdit.text = case.review.remark if case.review is not None else ""
        said = [*case.doubt.reasons]
        if files.volume is None:
            said.append(
                _("The image is not shown: choose under Images the folder or list that the cohort was made of.")
            )
        if files.path.name != Path(next(iter(case.record.files), "")).name:
            said.append(_("This is the corrected segmentation."))
        self._say("\n".join(said))
        self.update()

    def _keep(self, opened: OpenCase, status: ReviewStatus, file: str) -> None:
        """Write what was decided, and go on to the next case."""
        output = self._output
        if output is None:
            return
        case = opened.files.case
        try:
            review = write_review(output, case.record, status, self._remark(), file)
        except MedSAM3Error as error:
            self._failed(error)
            return
        self._cases = [
            replace(one, review=review) if one.record.case == case.record.case else one for one in self._cases
        ]
        self._close_case()
        self._table.show(self._cases)
        self.open_next()

    def _may_leave(self) -> bool:
        """Whether edits that were not saved may be lost, which is asked."""
        if self.opened is None or not self.opened.is_edited:
            return True
        question = _("The segmentation of {case} was edited and not saved. Go on without the edits?").format(
            case=self.opened.files.case.record.case
        )
        return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle=_("MedSAM3 Segment")))

    def _close_case(self) -> None:
        opened, self.opened = self.opened, None
        if opened is not None:
            remove_case(opened)
        self._ui.caseRemarkEdit.text = ""

    def _work(self, words: str, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self._say(words)
        self._task.start(work, done, self._failed)
        self.update()

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, MedSAM3Error):
            log_failure("a case of a cohort could not be opened or saved.", error)
        self._say(translated(str(error)))
        self.update()

    def _remark(self) -> str:
        return str(self._ui.caseRemarkEdit.text).strip()

    def _say(self, words: str) -> None:
        self._ui.cohortLabel.text = words
        self._ui.cohortLabel.visible = bool(words)


def _file_kept(opened: OpenCase) -> str:
    """The corrected file of an earlier review, which stays."""
    review = opened.files.case.review
    return "" if review is None else review.file
