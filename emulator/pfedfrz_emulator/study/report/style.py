"""The style sheet of a study's page: that of a run's report, and what only a study has."""

from __future__ import annotations

from pfedfrz_monitor.report.style import STYLE

from .looks import COLOURS

__all__ = ["STUDY_STYLE"]


def _colours(which: int) -> str:
    return ";".join(f"--series{place}:{pair[which]}" for place, pair in enumerate(COLOURS))


def _series() -> str:
    return "\n".join(
        f".s{place}{{stroke:var(--series{place})}}.f{place}{{fill:var(--series{place})}}"
        for place in range(len(COLOURS))
    )


STUDY_STYLE = f"""{STYLE}
:root{{{_colours(0)}}}
@media (prefers-color-scheme:dark){{:root{{{_colours(1)}}}}}
{_series()}
.dashed{{stroke-dasharray:5 4}}
.area{{stroke:none;opacity:.1}}
h3{{font-size:16px;margin:28px 0 8px;font-weight:640}}
figure{{margin:0}}
figcaption{{font-size:13.5px;font-weight:600;margin:0 0 4px}}
.charts{{display:grid;grid-template-columns:1fr 1fr;gap:22px 18px}}
details>summary{{cursor:pointer;margin:44px 0 10px}}
details>summary h2{{display:inline;margin:0}}
.scroll.whole{{max-height:none}}
.results thead th{{white-space:normal;vertical-align:bottom;min-width:5.2em;line-height:1.35}}
.results td,.results tbody th{{vertical-align:top}}
section+p{{margin-top:14px}}
.results td.long{{white-space:normal;min-width:11em}}
.results .name{{position:sticky;left:0;background:var(--surface);z-index:1;padding-left:16px}}
.results td small{{display:block;font-size:11.5px;color:var(--faint)}}
.results .holds{{color:var(--series3);font-weight:640}}
.results .fails{{color:var(--series7);font-weight:640}}
.results .holds small,.results .fails small{{color:inherit;font-weight:500}}
@media (max-width:660px){{.charts{{grid-template-columns:1fr}}
 .results .name{{white-space:normal;min-width:8.5em;max-width:11em;padding-left:10px}}}}
"""
"""Verdicts are words; their colour only makes them quicker to find."""
