"""The rounds that a view keeps, within bounds: the oldest lose their details first, then go."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .round_view import Cell, RoundView

__all__ = ["KeptRounds"]


class KeptRounds:
    """Rounds by number, each with a cell for every device that had a part in it."""

    def __init__(
        self, max_rounds: int, max_cells: int, touched: Callable[[RoundView | None], None]
    ) -> None:
        """`touched` is told of every round that changes, and with None of one that goes."""
        self.by_number: dict[int, RoundView] = {}
        """In the order of numbers."""
        self._max_rounds = max_rounds
        self._max_cells = max_cells
        self._touched = touched
        self._cells = 0

    def at(self, number: int) -> RoundView:
        """The round of that number, made if need be; one older than all others is not kept."""
        here = self.by_number.get(number)
        if here is None:
            is_last = not self.by_number or number > max(self.by_number)
            here = self.by_number[number] = RoundView(number)
            if not is_last:
                self.by_number = dict(sorted(self.by_number.items()))
            if len(self.by_number) > self._max_rounds:
                self.drop([next(iter(self.by_number))])
        self._touched(here)
        return here

    def select(self, here: RoundView, devices: Iterable[str]) -> None:
        """These devices are asked in that round, and no others."""
        before = _parts(here)
        here.selected = frozenset(devices)
        self._cells += _parts(here) - before
        self.trim()

    def cell(self, here: RoundView, name: str) -> Cell | None:
        """The device's part in the round; None for one that had none."""
        cell = here.cells.get(name)
        known = here.metrics.update_norms if here.metrics else {}
        if cell is None and (name in here.selected or name in known):
            cell = here.cells[name] = Cell()
            self._cells += name not in here.selected
            self.trim()
        return cell

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget these rounds."""
        for number in list(numbers):
            self._cells -= _parts(self.by_number.pop(number))
            self._touched(None)

    def trim(self) -> None:
        """The oldest rounds lose their details first; the newest keeps its own."""
        if self._cells <= self._max_cells:
            return
        for here in list(self.by_number.values())[:-1]:
            if not _parts(here):
                continue
            self._cells -= _parts(here)
            here.cells, here.metrics, here.selected = {}, None, frozenset()
            self._touched(here)
            if self._cells <= self._max_cells:
                return


def _parts(here: RoundView) -> int:
    """How many devices are kept one by one in a round: those asked, and others that count."""
    return len(here.selected | here.cells.keys())
