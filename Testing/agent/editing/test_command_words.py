"""What was understood is said, and what is offered while somebody types is understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedSAM3AgentLib.editing.command_words import command_words
from MedSAM3AgentLib.editing.completion import complete_command
from MedSAM3AgentLib.editing.grammar import EXAMPLES, parse_addressed, parse_clause


def test_every_command_is_said_in_words_of_its_own() -> None:
    words = [command_words(parse_clause(example)) for example in EXAMPLES]
    assert all(words)
    assert len(set(words)) == len({repr(parse_clause(example)) for example in EXAMPLES})


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("shrink 2 mm", "shrink by 2 mm"),
        ("expand by 1.5 cm", "grow by 15 mm"),
        ("keep the 2 largest", "keep the 2 largest pieces"),
        ("remove the smallest piece", "remove the smallest piece"),
        ("nothing above slice 40", "remove what is above slice 40"),
        ("only slices 20 to 50", "keep slices 20 to 50"),
        ("remove everything after slice 7", "keep slices up to 7"),
        ("only between -50 and 120 HU", "keep intensities of -50 to 120"),
        ("remove the lower half", "remove the lower part"),
        ("without liver", "take 'liver' away"),
        ("make a shell 2 mm inside", "make a shell of 2 mm inside of its surface"),
        ("threshold 0.4", "cut at threshold 0.4"),
    ],
)
def test_commands_are_said_as_they_were_meant(typed: str, said: str) -> None:
    assert command_words(parse_clause(typed)) == said


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("shr", "shrink 2 mm"),
        ("keep the largest; smo", "keep the largest; smooth 3 mm"),
        ("shrink the left k", "shrink the left kidney 2 mm"),
        ("without Le", "without left kidney"),
        ("holes", "fill holes"),
    ],
)
def test_a_begun_command_is_completed(text: str, offered: str) -> None:
    assert offered in complete_command(text, ["liver", "left kidney"])


@given(
    text=st.sampled_from(["s", "k", "re", "only i", "without ", "nothing ab", "gr", "add"]), name=st.text(max_size=12)
)
def test_what_is_offered_is_understood(text: str, name: str) -> None:
    names = ["liver", "left kidney", "Tumor (2)"]
    for offered in complete_command(text, names):
        assert parse_addressed(offered, names)
    # Names are anybody's; they must not break what is typed.
    assert all(isinstance(offered, str) for offered in complete_command(text, [name]))


def test_nothing_is_offered_for_nothing_and_a_full_command_is_not_offered_again() -> None:
    assert complete_command("", ["liver"]) == ()
    assert complete_command("shrink 2 mm; ", ["liver"]) == ()
    assert "shrink 2 mm" not in complete_command("shrink 2 mm", ["liver"])
