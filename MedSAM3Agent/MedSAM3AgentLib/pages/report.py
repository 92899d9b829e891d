"""The report of a session: one HTML file with pictures, what was tried, verdicts and why, volumes and changes."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence

import numpy as np

from MedSAM3AgentLib.actions import action_words
from MedSAM3AgentLib.session import AgentResult, Proposal, Round
from MedSAM3SegmentLib.units import format_volume
from MedSAM3SegmentLib.volume import Volume

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:24px auto;padding:0 16px;color:#1b1f24}
h1{font-size:22px}h2{font-size:18px;margin-top:28px;border-top:1px solid #d0d7de;padding-top:16px}
table{border-collapse:collapse;width:100%;margin:8px 0}td,th{border:1px solid #d0d7de;padding:4px 8px;text-align:left;
vertical-align:top}img{max-width:100%;background:#000}.accepted{color:#116329}.rejected{color:#a40e26}.unsure{color:#7d4e00}
.note{color:#57606a}.model{border-left:4px solid #8250df;padding-left:12px}.demo{background:#fff8c5;padding:8px 12px}
"""

_RESEARCH = "For research, not for clinical use. Check every segment before you use it."


def session_report(result: AgentResult, volume: Volume) -> str:
    """The report of a session as one HTML document that needs no other file."""
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8"><title>MedSAM3 agent</title>',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            "style-src 'unsafe-inline'\">",
            f"<style>{_STYLE}</style></head><body>",
            *_heading(result, volume),
            *(line for done in result.rounds for line in _round(done, result.rounds, volume)),
            f'<p class="note">{_RESEARCH}</p>',
            "</body></html>",
            "",
        )
    )


def _heading(result: AgentResult, volume: Volume) -> Iterator[str]:
    run = result.provenance
    yield f"<h1>{_text(result.request.text)}</h1>"
    if run.model.is_demo:
        yield '<p class="demo">Demo model, trained on synthetic pictures: this says nothing about a real patient.</p>'
    yield f'<p class="note">{_text(volume.name)} · {_text(run.model.name)}</p>'
    yield f"<p>Looked for, as understood by {_text(result.plan.by)}: {_text(result.plan.description)}.</p>"
    yield f"<p><b>{_text(result.why)}</b></p>"
    if result.answer:
        yield (
            f'<div class="model"><p class="note">Written by the language model, not a finding:</p>'
            f"<p>{_text(result.answer)}</p></div>"
        )
    yield "<table><tr><th>segment</th><th>result</th><th>size</th><th>kept from</th><th>why</th></tr>"
    for proposal in result.kept:
        yield _kept_row(proposal, _round_of(proposal, result.rounds), volume)
    yield "</table>"
    for said in result.messages:
        yield f'<p class="note">{_text(said)}</p>'


def _kept_row(proposal: Proposal, number: int, volume: Volume) -> str:
    size = "" if proposal.is_absent else format_volume(volume, int(np.count_nonzero(proposal.mask)))
    return (
        f"<tr><td>{_text(proposal.target.name)}</td>"
        f"<td>{'not found' if proposal.is_absent else 'found'}, {_verdict(proposal)}</td>"
        f"<td>{_text(size)}</td><td>round {number}</td><td>{_text(proposal.why)}</td></tr>"
    )


def _round(done: Round, rounds: Sequence[Round], volume: Volume) -> Iterator[str]:
    yield f"<h2>Round {done.number}</h2>"
    if done.page:
        picture = base64.b64encode(done.page).decode()
        yield f'<img alt="the page of round {done.number}" src="data:image/png;base64,{picture}">'
    yield "<table><tr><th>segment</th><th>tried</th><th>verdict</th><th>checks</th><th>size</th><th>change</th></tr>"
    for name, proposal in done.proposals.items():
        checks = "<br>".join(
            f"{'✓' if check.passed else '✗'} {_text(check.name)}: {_text(check.words)}" for check in proposal.checks
        )
        votes = f" ({proposal.votes[1]} of {proposal.votes[0]} votes)" if proposal.votes[0] else ""
        size = "absent" if proposal.is_absent else format_volume(volume, int(np.count_nonzero(proposal.mask)))
        yield (
            f"<tr><td>{_text(name)}</td><td>{_text(action_words(proposal.action))}</td>"
            f"<td>{_verdict(proposal)}{votes}<br>{_text(proposal.why)}</td><td>{checks}</td><td>{_text(size)}</td>"
            f"<td>{_text(_change(name, done, rounds, volume))}</td></tr>"
        )
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in done.seconds.items())
    yield f'</table><p class="note">{done.calls} questions asked; {_text(seconds)}</p>'


def _change(name: str, done: Round, rounds: Sequence[Round], volume: Volume) -> str:
    """How the mask differs from that which was kept in the round before."""
    if done.number == 1 or name not in rounds[done.number - 2].kept:
        return ""
    before, now = rounds[done.number - 2].kept[name].mask, done.proposals[name].mask
    added, removed = int(np.count_nonzero(now & ~before)), int(np.count_nonzero(before & ~now))
    if not added and not removed:
        return "none"
    return f"+{format_volume(volume, added)}, -{format_volume(volume, removed)}"


def _round_of(proposal: Proposal, rounds: Sequence[Round]) -> int:
    numbers = [done.number for done in rounds if done.proposals.get(proposal.target.name) is proposal]
    return numbers[0] if numbers else 1


def _verdict(proposal: Proposal) -> str:
    word = proposal.verdict.words
    return f'<span class="{word}">{word}</span>'


def _text(text: object) -> str:
    return html.escape(str(text))
