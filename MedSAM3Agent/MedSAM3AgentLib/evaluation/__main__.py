"""``python -m MedSAM3AgentLib.evaluation``: the table of bases, backends and policies on phantoms, as Markdown.

Each phantom's cases are appended to a file as soon as they are done, so that a long run can be looked at and goes on
where it ended.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.evaluation.mode_comparison import phantom_with_slices
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import make_phantom

from .bases import KeptAnswers
from .table import BACKENDS, BASES, Case, rows_of, score_medsam_agent, score_phantom, table_markdown

#: Other agents' rules, as columns.
META, MEDSAM_AGENT = "Meta's rules", "MedSAM-Agent's rules"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the table.

    Raises:
        InputError: an option cannot be understood.
    """
    parser = argparse.ArgumentParser(prog="python -m MedSAM3AgentLib.evaluation", description=__doc__)
    parser.add_argument("--seeds", default="100000:100010", help="phantoms A to B-1 (test phantoms: 200100:200120)")
    parser.add_argument("--spacing", type=float, help="millimeters between slices (default: as each phantom has it)")
    parser.add_argument("--bases", default="clean;swap .25", help=f"of {'; '.join(BASES)}")
    parser.add_argument("--agents", default=";".join((*BACKENDS, META)), help="backends and policies")
    parser.add_argument(
        "--turns", type=int, default=0, help=f"turns of {MEDSAM_AGENT} on the clean base (default: none)"
    )
    parser.add_argument("--model", default="demo")
    parser.add_argument("--cases", type=Path, required=True, help="file that the cases are kept in, JSON lines")
    options = parser.parse_args(arguments)
    bases, agents = (_listed(text) for text in (options.bases, options.agents))
    unknown = [name for name in bases if name not in BASES] + [n for n in agents if n not in (*BACKENDS, META)]
    if unknown:
        raise InputError("'{name}' is neither a base nor an agent of the table.", name=unknown[0])
    first, end = (int(part) for part in options.seeds.split(":"))
    cases = read_cases(options.cases)
    done = {one.seed for one in cases}
    segmenter = Segmenter.load(options.model)
    for seed in range(first, end):
        if seed in done:
            continue
        phantom = make_phantom(seed) if options.spacing is None else phantom_with_slices(seed, options.spacing)[0]
        kept = KeptAnswers(segmenter)
        new = list(score_phantom(kept, phantom, seed, bases, agents))
        if options.turns:
            new += score_medsam_agent(segmenter, kept, phantom, seed, options.turns)
        with options.cases.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(one)) + "\n" for one in new)
        cases += new
        segmenter.cache.clear()
        print(f"{seed}: {len(new)} cases, {kept.seconds:.0f} s in the model", flush=True)
    print(table_markdown(rows_of(cases)))


def read_cases(path: Path) -> list[Case]:
    """The cases in a file of JSON lines; none where there is no file."""
    if not path.exists():
        return []
    return [Case(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


if __name__ == "__main__":
    main()
