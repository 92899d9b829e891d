"""*Save as DICOM* in the panel: the chosen segmentation as an object of the volume's images."""

from __future__ import annotations

import numpy as np

from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.dicom_study import load_study
from support.panel import open_panel, phantom


def test_the_chosen_segmentation_is_saved_beside_the_window(bench, tmp_path, monkeypatch):
    widget = open_panel(bench)
    assert not widget.ui.saveDicomButton.enabled
    study = load_study(bench.slicer, tmp_path / "study", monkeypatch)
    parameters = widget.panel.form.parameters
    parameters.volume, parameters.segmentation = study.node, study.segmentation
    widget.panel.update()
    assert widget.ui.saveDicomButton.enabled
    # Nobody chose a file.
    widget.ui.saveDicomButton.click()
    assert bench.dialogs.texts("error") == []
    bench.dialogs.path = str(tmp_path / "out.dcm")
    widget.ui.saveDicomButton.click()
    assert not widget.ui.saveDicomButton.enabled
    bench.wait(lambda: widget.ui.saveDicomButton.enabled)
    assert widget.ui.resultLabel.text == "Saved out.dcm."
    back, _ = read_segmentation(tmp_path / "out.dcm")
    assert {one.name: np.count_nonzero(one.mask) for one in back} == {
        name: np.count_nonzero(study.masks[name]) for name in ("liver", "spleen")
    }


def test_a_volume_that_is_not_from_dicom_is_refused_in_words(bench, tmp_path):
    widget = open_panel(bench)
    node, _ = phantom()
    parameters = widget.panel.form.parameters
    parameters.volume = node
    parameters.segmentation = bench.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    widget.panel.update()
    bench.dialogs.path = str(tmp_path / "out.dcm")
    widget.ui.saveDicomButton.click()
    (said,) = bench.dialogs.texts("error")
    assert "was not loaded from Slicer's DICOM database" in said
    assert list(tmp_path.glob("*.dcm")) == []
