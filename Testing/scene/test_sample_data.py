"""The synthetic abdomens in Slicer's Sample Data module: by its button, and by what scripts call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MedSAM3SceneLib.mrml.slice_planes import shown_slice
from MedSAM3SceneLib.mrml.volumes import read_volume_node
from MedSAM3SegmentLib.preprocessing.windowing import CT_WINDOWS
from MedSAM3SegmentLib.synthetic.phantom import Contrast, make_phantom


@pytest.fixture
def sample_data(bench):
    """Slicer's SampleData module in which the samples are offered."""
    import SampleData

    from MedSAM3SceneLib.mrml.sample_source import register_sample_data

    register_sample_data("icon.png")
    register_sample_data("icon.png")
    bench.slicer.mrmlScene.Clear(False)
    return SampleData


WAYS = {
    "downloadSample": lambda module, name: [module.downloadSample(name)],
    "downloadSamples": lambda module, name: module.downloadSamples(name),
    "SampleDataLogic().downloadSample": lambda module, name: [module.SampleDataLogic().downloadSample(name)],
    "the button": lambda module, name: module.bench_click(name),
}


def test_the_samples_are_offered_once_and_nothing_is_made_for_that(bench, sample_data):
    (sources,) = bench.slicer.modules.sampleDataSources.values()

    assert [source.sampleName for source in sources] == ["MedSAM3SyntheticCT", "MedSAM3SyntheticMR"]
    # Slicer compares the sources of all modules.
    assert sample_data.SampleDataLogic().categoryForSource(sources[1]) == "MedSAM3"
    assert sources[0] != sources[1]
    assert list(Path(bench.app.temporaryPath).rglob("*.nrrd")) == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "contrast"), [("MedSAM3SyntheticCT", "CT"), ("MedSAM3SyntheticMR", "MR")])
def test_a_sample_is_the_same_volume_however_it_is_loaded(sample_data, way, name, contrast):
    (node,) = WAYS[way](sample_data, name)

    volume = read_volume_node(node).volume
    expected = make_phantom(24, contrast=Contrast(contrast), absence=0.0).volume
    assert node.GetName() == name
    assert volume.modality == contrast
    assert volume.grid.same_as(expected.grid)
    assert (volume.array == expected.array).all()
    assert volume.array.dtype == expected.array.dtype
    assert node.GetStorageNode() is None
    if contrast == "CT":
        display = node.GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == CT_WINDOWS["soft-tissue"]
        assert not display.GetAutoWindowLevel()


@pytest.mark.parametrize("way", WAYS)
def test_a_sample_is_shown_along_its_own_planes(bench, sample_data, way):
    """The patient lay tilted by some degrees; a view that is not turned with it cuts through several slices."""
    (node,) = WAYS[way](sample_data, "MedSAM3SyntheticCT")

    composites = bench.slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {composite.GetBackgroundVolumeID() for composite in composites} == {node.GetID()}
    placed = read_volume_node(node)
    for view, axis in (("Red", 0), ("Green", 1), ("Yellow", 2)):
        slice_node = bench.app.layoutManager().sliceWidget(view).mrmlSliceNode()
        shown = shown_slice(slice_node, node, placed)
        assert 0 <= shown.index < placed.volume.grid.shape[axis]
        assert np.ptp(bench.render(view)) > 0


def test_a_sample_can_be_loaded_again_and_leaves_others_alone(bench, sample_data):
    first = sample_data.downloadSample("MedSAM3SyntheticCT")
    first.GetDisplayNode().SetWindowLevelMinMax(0, 10)
    file = Path(bench.app.cachePath) / "MedSAM3SyntheticCT.nrrd"
    file.write_bytes(b"what another version of the extension left there")

    second = sample_data.downloadSample("MedSAM3SyntheticCT")

    assert second is not first
    assert (read_volume_node(second).volume.array == read_volume_node(first).volume.array).all()
    assert first.GetDisplayNode().GetWindowLevelMax() == 10


def test_a_sample_can_be_loaded_where_there_is_no_window(bench, sample_data, monkeypatch):
    monkeypatch.setattr(type(bench.app), "layoutManager", lambda _self: None)
    node = sample_data.downloadSample("MedSAM3SyntheticMR")
    monkeypatch.undo()

    assert read_volume_node(node).volume.modality == "MR"
