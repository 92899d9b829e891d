"""What becomes of a request when a person does something else meanwhile: states, nodes and words afterwards."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from MedSAM3AgentLib.session import Stop
from MedSAM3AgentSceneLib.rounds.scene_round import scene_rounds
from MedSAM3SceneLib.application_quit import end_all
from MedSAM3SceneLib.runs.run import RunState
from MedSAM3SegmentLib.errors import Cancelled, InputError
from support.agent_scene import MASKS, HeldScripted, add_abdomen, make_logic, mask_of, renew_hierarchy
from support.language_server import Answer, language_server, said
from support.nodes import segments
from support.scripted_segmenter import ACCEPT, REJECT, ScriptedBackend

ANSWERS = {"gadget": MASKS["spleen"], "widget": MASKS["liver"]}


@pytest.fixture
def session(bench):
    """A request that is in its second round and waits there."""
    renew_hierarchy(bench.slicer.mrmlScene)
    return Session(bench)


class Session:
    def __init__(self, bench):
        self.bench = bench
        self.scene = bench.slicer.mrmlScene
        self.volume = add_abdomen()
        self.logic = make_logic()
        self.segmenter = self.logic.segmenter = HeldScripted(ANSWERS, 2)
        self.rounds, self.done, self.failed = [], [], []

    def backend(self):
        return ScriptedBackend([REJECT, {"action": "segment", "phrases": ["widget"]}, ACCEPT])

    def begin(self):
        job = self.logic.start(
            self.volume,
            "gadget",
            language=self.backend(),
            onRound=self.rounds.append,
            onDone=self.done.append,
            onFailed=self.failed.append,
        )
        self.bench.wait(lambda: self.segmenter.asked.is_set() and bool(self.rounds))
        return job

    def finish(self, job):
        self.segmenter.may.set()
        self.bench.wait(lambda: job.ended)
        self.bench.spin(0.2)

    @property
    def segmentations(self):
        return self.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")

    @property
    def texts(self):
        return self.scene.GetNumberOfNodesByClass("vtkMRMLTextNode")


def test_a_request_goes_on_by_itself_and_tells_what_happens(session):
    job = session.begin()
    assert not job.ended
    assert [one.number for one in session.rounds] == [1]

    session.finish(job)

    assert [one.number for one in session.rounds] == [1, 2]
    assert session.done == [job.run]
    assert session.failed == []
    assert job.run.stop is Stop.ACCEPTED
    assert job.run.state is RunState.DONE
    assert np.array_equal(mask_of(session.rounds[1].node, "gadget"), MASKS["liver"])


def test_stopping_keeps_the_rounds_that_were_done(session):
    job = session.begin()

    job.cancel()
    session.bench.wait(lambda: job.ended)

    assert job.run.stop is Stop.USER
    assert session.done == [job.run]
    assert session.segmentations == 1
    (left,) = scene_rounds()
    assert left.stop == "stopped by the user"
    assert np.array_equal(mask_of(left.node, "gadget"), MASKS["spleen"])


def test_a_second_request_takes_the_place_of_the_first_whose_rounds_stay(session):
    job = session.begin()
    first = session.rounds[0].node
    session.logic.segmenter = HeldScripted(ANSWERS, 9)

    other = session.logic.start(session.volume, "widget", onFailed=session.failed.append)
    session.bench.wait(lambda: other.ended)
    session.segmenter.may.set()
    session.bench.spin(0.2)

    assert job.run.state is RunState.CANCELLED
    assert "newer request" in str(session.failed[0])
    assert len(session.failed) == 1
    assert first.GetScene() is session.scene
    assert [(one.node.GetName(), bool(one.stop)) for one in scene_rounds()] == [
        ("Agent 1 \u00b7 round 1", False),
        ("Agent 2 \u00b7 round 1", True),
    ]
    assert "newer request" in scene_rounds()[0].why


def test_closing_the_scene_ends_the_request_and_nothing_comes_later(session):
    job = session.begin()

    session.scene.Clear(False)
    session.finish(job)

    assert job.run.state is RunState.CANCELLED
    assert len(session.failed) == 1
    assert isinstance(session.failed[0], Cancelled)
    assert "closed" in str(session.failed[0])
    assert (session.segmentations, session.texts) == (0, 0)
    assert not session.logic.canUndo()


def test_removing_the_volume_ends_the_request(session):
    job = session.begin()

    session.scene.RemoveNode(session.volume)
    session.finish(job)

    assert job.run.state is RunState.CANCELLED
    assert "'ct' was removed" in str(session.failed[0])
    assert session.segmentations == 1


def test_removing_the_folder_ends_the_request_and_removes_all(session):
    job = session.begin()
    tree = session.bench.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(session.scene)

    tree.RemoveItem(job.run.folder, True, True)
    session.finish(job)

    assert job.run.state is RunState.CANCELLED
    assert "taken out of the scene" in str(session.failed[0])
    assert (session.segmentations, session.texts) == (0, 0)
    assert job.run.folder == 0


def test_a_round_that_is_deleted_meanwhile_stays_deleted_and_the_others_come(session):
    job = session.begin()

    session.scene.RemoveNode(session.rounds[0].node)
    assert session.texts == 0
    session.finish(job)

    assert job.run.stop is Stop.ACCEPTED
    (left,) = scene_rounds()
    assert (left.number, left.parent) == (2, session.rounds[0].id)
    assert session.logic.undo()
    assert (session.segmentations, session.texts) == (0, 0)
    assert session.logic.redo()
    assert [one.number for one in scene_rounds()] == [2]


def test_undo_meanwhile_takes_the_request_back_and_ends_it(session):
    job = session.begin()

    assert session.logic.undo()
    session.finish(job)

    assert job.run.state is RunState.CANCELLED
    assert (session.segmentations, session.texts) == (0, 0)


def test_a_round_that_is_gone_on_from_may_be_deleted_meanwhile(session):
    node = session.logic.ask(session.volume, "gadget").rounds[0].node
    job = session.logic.startGoOn(node, "also the widget", onRound=session.rounds.append)
    session.bench.wait(session.segmenter.asked.is_set)

    session.scene.RemoveNode(node)
    session.finish(job)

    assert job.run.state is RunState.DONE
    assert list(segments(session.rounds[0].node)) == ["gadget", "widget"]


def test_a_logic_that_is_closed_for_a_reload_ends_its_request(session):
    job = session.begin()

    session.logic.close()
    session.finish(job)

    assert job.run.state is RunState.CANCELLED
    assert "module was closed" in str(session.failed[0])
    assert session.segmentations == 1


def test_quitting_ends_the_request(session, monkeypatch):
    from MedSAM3SceneLib.engine import connection

    monkeypatch.setattr(connection, "stop_for_good", lambda: None)
    job = session.begin()

    end_all()
    session.finish(job)

    assert job.run.state is RunState.CANCELLED
    assert "Slicer was closed" in str(session.failed[0])


def test_a_volume_that_is_changed_meanwhile_is_said(session):
    job = session.begin()
    session.bench.slicer.updateVolumeFromArray(session.volume, np.zeros((40, 40, 60), np.int16))

    session.finish(job)

    assert job.run.state is RunState.DONE
    assert any("was changed while" in said for said in job.run.messages)


def test_a_request_cannot_be_waited_for_from_within_one(session):
    refused = []

    def ask_again(_):
        try:
            session.logic.ask(session.volume, "widget")
        except InputError as error:
            refused.append(str(error))

    session.logic.segmenter = HeldScripted(ANSWERS, 9)
    session.logic.ask(session.volume, "gadget", onRound=ask_again)

    assert len(refused) == 1
    assert session.segmentations == 1


def test_who_breaks_off_waiting_leaves_the_rounds_that_were_done(session):
    def stop(_):
        raise KeyboardInterrupt

    session.logic.segmenter = HeldScripted(ANSWERS, 9)
    with pytest.raises(KeyboardInterrupt):
        session.logic.ask(session.volume, "gadget", language=session.backend(), onRound=stop)
    session.bench.spin(0.2)
    assert [one.number for one in scene_rounds()] == [1]
    # And the next request can be waited for.
    assert session.logic.ask(session.volume, "widget").stop is not None


def test_a_language_server_that_dies_leaves_the_best_round_and_a_sentence(session):
    session.logic.segmenter = HeldScripted(ANSWERS, 9)

    def behave(_body, number):
        # The probe and a first verdict are answered.
        texts = ["red", '{"verdict": "reject"}']
        return Answer(said(texts[number])) if number < len(texts) else Answer(drop=True)

    with language_server(behave) as server:
        run = session.logic.ask(session.volume, "gadget tumor; gadget", language=f"{server.address}#a-model")

    assert run.stop is Stop.LANGUAGE_MODEL
    assert any("failed" in said for said in run.messages)
    assert np.array_equal(mask_of(run.rounds[-1].node, "gadget"), MASKS["spleen"])


def test_the_window_is_asked_for_nothing_by_threads(session):
    """What is told, and whoever is asked, is on the thread of the window."""
    threads = set()
    session.logic.segmenter = HeldScripted(ANSWERS, 9)
    job = session.logic.start(
        session.volume,
        "gadget",
        language=session.backend(),
        onProgress=lambda _: threads.add(threading.get_ident()),
        onRound=lambda _: threads.add(threading.get_ident()),
        onDone=lambda _: threads.add(threading.get_ident()),
    )
    session.bench.wait(lambda: job.ended)
    assert threads == {threading.get_ident()}
