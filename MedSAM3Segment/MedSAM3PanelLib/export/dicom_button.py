"""The button that saves the chosen segmentation as a DICOM object of the images that the volume was loaded from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedSAM3PanelLib.setup.package_installer import PackageInstaller
from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SceneLib.segments.dicom_export import DicomExport, copy_for_dicom, write_dicom
from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.errors import MedSAM3Error, PackageError
from MedSAM3WidgetsLib.background_task import BackgroundTask

#: What the extra ``dicom`` of the shell's package brings.
_PACKAGES = ("highdicom>=0.26,<1", "contourpy>=1.2,<2")


class DicomButton:
    """Saves in the background.

    Args:
        button: that is pressed.
        chosen: gives segmentation and volume, each None where none is chosen.
        say: shows a sentence.
        requirements: the file with the packages that the panel installs.
    """

    def __init__(
        self, button: Any, chosen: Callable[[], tuple[Any, Any]], say: Callable[[str], None], requirements: str
    ) -> None:
        self._button, self._chosen, self._say = button, chosen, say
        self._task = BackgroundTask()
        self._installer = PackageInstaller(requirements, self.save, lambda _complaints: self.update())
        button.connect("clicked()", self.save)
        self.update()

    def save(self) -> None:
        """Ask where to, and write it."""
        segmentation, volume = self._chosen()
        if self._task.is_busy or segmentation is None or volume is None:
            return
        try:
            export = copy_for_dicom(segmentation, volume)
            if self._installs_packages():
                return
        except MedSAM3Error as error:
            self._failed(error)
            return
        words = _("DICOM segmentation (*.dcm);;DICOM structure set (*.rtstruct.dcm)")
        name = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Save as DICOM"), "segmentation.dcm", words)
        if name:
            self._write(Path(name), export)

    def update(self) -> None:
        """Enable the button where there is something to save."""
        self._button.enabled = not self._task.is_busy and not self._installer.is_busy and None not in self._chosen()

    def close(self) -> None:
        """The panel goes away."""
        self._task.stop()
        self._installer.close()

    def _write(self, path: Path, export: DicomExport) -> None:
        def written(_none: None) -> None:
            self._say(_("Saved {file}.").format(file=path.name))
            self.update()

        self._say(_("Saving {file} ...").format(file=path.name))
        self._task.start(lambda: write_dicom(path, export), written, self._failed)
        self.update()

    def _installs_packages(self) -> bool:
        """Whether packages are missing, which are installed if the user wants it."""
        from MedSAM3SegmentLib.io.dicom_objects.source import check_packages

        try:
            check_packages()
        except PackageError:
            self._installer.install_packages(_PACKAGES)
            self.update()
            return True
        return False

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, MedSAM3Error):
            log_failure("a segmentation could not be saved as DICOM.", error)
        self._say(translated(str(error)))
        slicer.util.errorDisplay(translated(str(error)), windowTitle=_("Save as DICOM"))
        self.update()
