"""``medsam3 ask``: a volume and a sentence in, a segmentation out, with every round on record."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3AgentLib.cli.language import ChosenLanguage, add_language_options, language_of
from MedSAM3SegmentLib.cli.options.model import ModelSection, add_model_options
from MedSAM3SegmentLib.cli.options.values import parse_slices
from MedSAM3SegmentLib.cli.options.volume import add_reading_options
from MedSAM3SegmentLib.cli.output_files import check_outputs, written_together
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal, duration
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.preprocessing.windowing import CT_WINDOWS, Window
from MedSAM3SegmentLib.progress import Progress, RunCallbacks, Stage

if TYPE_CHECKING:
    from rich.table import Table

    from MedSAM3AgentLib.session import AgentRequest, AgentResult, Round
    from MedSAM3AgentLib.transcript import Transcript
    from MedSAM3SegmentLib.volume import Volume

_EPILOG = """\
examples:
  medsam3 ask ct.nii.gz "the mass in the right kidney, without the cyst" --output mass.seg.nrrd --report mass.html
  medsam3 ask ct.nii.gz "liver and spleen" --output organs.seg.nrrd --rounds-folder rounds --transcript ask.jsonl
  medsam3 ask ct.nii.gz "what explains the pain in the right flank?" --output answer.seg.nrrd \\
      --language http://127.0.0.1:11434/v1#qwen3-vl:8b-instruct
  medsam3 ask ct.nii.gz "liver and spleen" --output again.seg.nrrd --replay ask.jsonl

Exit codes: 0 done (also when nothing was found), 2 bad input or sending not allowed, 3 model missing or broken,
4 server not reached, 130 interrupted.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], **common: object) -> None:
    """Add ``ask`` to the shell's commands."""
    parser = subparsers.add_parser(
        "ask",
        help="describe a finding in a sentence; an agent segments, checks and corrects",
        description="Segment what a sentence describes, look at the result, and correct it in a few rounds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **common,  # type: ignore[arg-type]
    )
    parser.add_argument("input", metavar="INPUT", type=Path, help="DICOM folder or file, NIfTI, NRRD, MHA or picture")
    parser.add_argument("text", metavar="TEXT", help="what to find, such as 'the mass in the right kidney'")
    parser.add_argument(
        "--output", metavar="OUT", type=Path, required=True, help="file to write: .seg.nrrd or .nii.gz (label map)"
    )
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="most rounds, 1 to 5 (default: 3)")
    parser.add_argument("--calls", metavar="N", type=int, default=10, help="most questions to the model (default: 10)")
    parser.add_argument(
        "--pictures", metavar="N", type=int, default=16, help="most pages that the model is shown (default: 16)"
    )
    parser.add_argument(
        "--seconds", metavar="S", type=float, help="after this no question is asked and no reply waited for any more"
    )
    parser.add_argument("--money", metavar="AMOUNT", type=float, help="most that questions may cost; needs --price")
    parser.add_argument(
        "--price", metavar="IN[,OUT]", help="price of a thousand tokens in and out, in the currency of --money"
    )
    add_language_options(parser)
    add_reading_options(parser)
    add_model_options(parser)
    parser.add_argument("--plane", choices=[plane.value for plane in Plane], default=Plane.ACQUIRED.value)
    parser.add_argument("--slices", metavar="A:B", help="only slices A to B-1 of the stack")
    parser.add_argument("--window", metavar="NAME|LOW,HIGH", help=f"intensity window: {', '.join(CT_WINDOWS)}")
    parser.add_argument("--threshold", metavar="T", type=float, help="lowest score that counts, 0 to 1")
    parser.add_argument("--report", metavar="FILE.html", type=Path, help="also write the rounds with pictures")
    parser.add_argument("--rounds-folder", metavar="DIR", type=Path, help="also write each round and its picture")
    parser.add_argument("--transcript", metavar="FILE.jsonl", type=Path, help="also write all questions and replies")
    parser.add_argument("--replay", metavar="FILE.jsonl", type=Path, help="take the replies from this transcript")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, terminal: Terminal, interruption: Interruption) -> None:
    """Do what ``medsam3 ask`` was asked to."""
    started = time.monotonic()
    request = _request(options)
    outputs = _check(options)
    with terminal.busy(f"reading {options.input}"):
        from MedSAM3SegmentLib.io.read_volume import read_volume

        volume = read_volume(options.input, options.series, options.modality)
    for said in volume.messages:
        terminal.note(said, "yellow")
    language = _language(options, volume, terminal, interruption)
    backend = language.backend
    if backend.answers and options.replay is None:
        terminal.note(f"Where checks are unsure, {backend.name} gets pages of the volume and the request's words.")
    with terminal.busy("loading the model"):
        from MedSAM3SegmentLib.segmenter import Segmenter

        section = ModelSection.of(options)
        section.check()
        segmenter = Segmenter.load(section.source, section.device, section.dtype, section.resolution)
    from MedSAM3AgentLib.agent import Agent
    from MedSAM3AgentLib.transcript import Transcript

    transcript = Transcript()
    transcript.begin(request, volume, backend)

    def on_round(done: Round) -> None:
        transcript.add_round(done)
        for name, proposal in done.proposals.items():
            terminal.note(f"Round {done.number}: {name}: {proposal.verdict.words}. {proposal.why}")

    with interruption.gently() as stop, terminal.progress() as show:

        def progress(step: Progress) -> None:
            unit = "concepts" if step.stage is Stage.ASSEMBLING else "slices"
            show(step.stage, step.done, step.total, unit, step.seconds_left)

        callbacks = RunCallbacks(progress, cancel=stop)
        agent = Agent(segmenter, backend, on_consent=language.on_consent, consent=language.consent)
        result = agent.ask(volume, request, callbacks, on_round, transcript.add_question)
    transcript.end(result)
    terminal.note(f"Looked for, as understood by {result.plan.by}: {result.plan.description}.")
    for said in result.messages:
        terminal.note(said, "yellow")
    with terminal.busy("writing"):
        _write(options, outputs, result, volume, transcript, interruption)
    terminal.result(_table(result, volume))
    terminal.result(result.why)
    if result.answer:
        terminal.result(f"The language model wrote (not a finding): {result.answer}")
    terminal.result(f"Wrote {', '.join(map(str, outputs))} in {duration(time.monotonic() - started)}.")


def _request(options: argparse.Namespace) -> AgentRequest:
    from MedSAM3AgentLib.session import AgentRequest

    return AgentRequest(
        options.text,
        options.rounds,
        options.calls,
        Plane(options.plane),
        None if options.slices is None else parse_slices(options.slices),
        None if options.window is None else Window.parse(options.window),
        options.threshold,
        options.pictures,
        options.seconds,
        options.money,
        None if options.price is None else _price(options.price),
    )


def _price(text: str) -> tuple[float, float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise InputError("'{text}' is no price of a thousand tokens; give IN or IN,OUT, such as 0.15,0.6.", text=text)
    return numbers[0], numbers[-1]


def _check(options: argparse.Namespace) -> list[Path]:
    """The files that will be written, once it is known that they can be."""
    from MedSAM3SegmentLib.io.segmentation_paths import check_output

    if not options.input.exists():
        raise InputError("{path} does not exist; check the path.", path=options.input)
    check_output(options.output)
    if options.report is not None and options.report.suffix.lower() not in (".html", ".htm"):
        raise InputError("{path} is no name for the report; end it in .html.", path=options.report)
    folder: Path | None = options.rounds_folder
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("{path} exists and is not an empty folder; choose another one.", path=folder)
    outputs = [path for path in (options.output, options.report, options.transcript) if path is not None]
    inputs = [options.input, *([options.replay] if options.replay else [])]
    check_outputs(outputs, *inputs)
    if folder is not None:
        from MedSAM3SegmentLib.io.atomic_write import check_folder

        check_folder(folder / "round-1.png") if folder.exists() else check_folder(folder)
    return outputs


def _language(
    options: argparse.Namespace, volume: Volume, terminal: Terminal, interruption: Interruption
) -> ChosenLanguage:
    if options.replay is None:
        return language_of(options, volume, terminal, interruption)
    from MedSAM3AgentLib.backends.replay import ReplayBackend
    from MedSAM3AgentLib.transcript import question_fields, read_transcript

    lines = read_transcript(options.replay)
    for field, value in (("volume", volume.content_hash), ("request", options.text)):
        if lines[0].get(field) != value:
            raise InputError(
                "The transcript {path} is of another {field}; replay it with the same.",
                path=options.replay,
                field=field,
            )
    return ChosenLanguage(ReplayBackend(lines, question_fields))


def _write(
    options: argparse.Namespace,
    outputs: list[Path],
    result: AgentResult,
    volume: Volume,
    transcript: Transcript,
    interruption: Interruption,
) -> None:
    from MedSAM3AgentLib.pages.report import session_report
    from MedSAM3AgentLib.results import write_kept
    from MedSAM3SegmentLib.io.atomic_write import atomic_folder

    with written_together(outputs, interruption) as drafts:
        write_kept(drafts[options.output], result, volume.grid)
        if options.report is not None:
            drafts[options.report].write_text(session_report(result, volume), encoding="utf-8")
        if options.transcript is not None:
            drafts[options.transcript].write_text(transcript.text(), encoding="utf-8")
        if options.rounds_folder is not None:
            with atomic_folder(options.rounds_folder) as draft:
                for done in result.rounds:
                    kept = tuple(done.kept[target.name] for target in result.plan.targets)
                    write_kept(draft / f"round-{done.number}.seg.nrrd", result, volume.grid, kept)
                    if done.page:
                        (draft / f"round-{done.number}.png").write_bytes(done.page)
                for name, picture in transcript.pictures.items():
                    (draft / f"question-{name[:16]}.png").write_bytes(picture)


def _table(result: AgentResult, volume: Volume) -> Table:
    from rich.table import Table

    from MedSAM3SegmentLib.units import format_volume

    table = Table()
    for heading in ("segment", "result", "size", "verdict", "why"):
        table.add_column(heading, overflow="fold")
    for one in result.kept:
        size = "" if one.is_absent else format_volume(volume, int(one.mask.sum()))
        found = "not found" if one.is_absent else "found"
        table.add_row(one.target.name, found, size, one.verdict.words, str(one.why))
    return table
