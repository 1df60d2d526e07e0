"""What comes over the screen: a question before something is done, and the help."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from .requests import Proposal

__all__ = ["Confirmation", "Help"]

_CSS = """
{name} {{ align: center middle; background: $background 60%; }}
{name} > .dialog {{
    width: 64; max-width: 96%; height: auto; max-height: 96%; padding: 1 2;
    background: $surface; border: round {border};
}}
{name} .title {{ text-style: bold; margin-bottom: 1; }}
{name} .hint {{ color: $dim; margin-top: 1; }}
{name} Input {{ margin-top: 1; }}
"""


class Confirmation(ModalScreen[bool]):
    """Asks whether to do it: with y, or by typing what cannot be typed by mistake."""

    CSS = _CSS.format(name="Confirmation", border="$warning")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", show=False),
        Binding("n", "answer(False)", show=False),
        Binding("y", "yes", show=False),
    ]

    def __init__(self, proposal: Proposal) -> None:
        super().__init__()
        self.proposal = proposal

    def compose(self) -> ComposeResult:
        """The question, what it means, and how to answer."""
        asked = self.proposal
        with Vertical(classes="dialog"):
            yield Static(Content(asked.title), classes="title")
            yield Static(Content(asked.meaning))
            if asked.typed:
                yield Input(placeholder=asked.typed)
                hint = f"type {asked.typed} and press Enter to do it, Esc to leave it"
            else:
                hint = "y do it   n or Esc leave it"
            yield Static(Content(hint), classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Only the very name is a yes."""
        if event.value.strip() == self.proposal.typed:
            self.dismiss(True)
        else:
            self.query_one(".hint", Static).update(
                Content(f"that is not {self.proposal.typed}; Esc leaves it")
            )

    def action_yes(self) -> None:
        """A key is a yes where nothing has to be typed."""
        if not self.proposal.typed:
            self.dismiss(True)

    def action_answer(self, answer: bool) -> None:
        """The answer."""
        self.dismiss(answer)


_HELP = """\
up down PgUp PgDn   move; Tab goes to the next table
s  S                sort by name, trouble, accuracy, cosine, stage; backwards
/                   only devices with this in name, label or state; Esc: all
v                   below: rounds, what happened, or nothing
t                   dark or light
p                   pause, resume
a  x  m             accept, quarantine, readmit the chosen device
X                   revoke its key
q                   quit

rcvd: accuracy of the model as it was received; local: after training on the device.
local by round: up to 100 %; a red cross is a rejected or failed round.
cosine: of its last update to the mean of the others; below zero it pulled against
them. ok/no: updates accepted, and rejected or failed ones."""


class Help(ModalScreen[None]):
    """What the keys do, and what the columns mean."""

    CSS = _CSS.format(name="Help", border="$primary") + "Help > .dialog { width: 84; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", show=False)
    ]

    def compose(self) -> ComposeResult:
        """One text."""
        with VerticalScroll(classes="dialog"):
            yield Static(Content("Keys"), classes="title")
            yield Static(Content(_HELP))
