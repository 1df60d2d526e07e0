"""The style sheet of report.html: light and dark, wide and narrow, on screen and on paper."""

from __future__ import annotations

import base64
import hashlib

from .device_table import MIX_LEVELS
from .heat_map import HEAT_LEVELS
from .palette import DARK, LIGHT, Palette

__all__ = ["STYLE", "style_digest"]


def style_digest(style: str) -> str:
    """The digest by which a page's content security policy admits this sheet and no other."""
    digest = hashlib.sha256(style.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _variables(palette: Palette) -> str:
    names = ("background", "surface", "text", "faint", "line", "received", "local", "attacker")
    plain = [f"--{name}:{getattr(palette, name)}" for name in (*names, "warning")]
    triples = [f"--{name}-rgb:{palette.triple(name)}" for name in ("local", "attacker")]
    return ";".join((*plain, *triples))


def _shades() -> str:
    rules = []
    for level in range(1, MIX_LEVELS + 1):
        rules.append(f".m{level}{{--share:{level / MIX_LEVELS:g}}}")
        # Where the text has to turn so that it keeps 3.5 to 1 on its cell, in light and in dark.
        if level > 0.8 * MIX_LEVELS:
            rules.append(f".m{level}{{color:var(--surface)}}")
        elif level > 0.55 * MIX_LEVELS:
            rules.append(f".m{level}{{color:var(--on-middle)}}")
    return "\n".join(rules)


def _heat() -> str:
    # The least is still to be told from a cell that has nothing.
    strengths = [0.08 + 0.92 * step / (HEAT_LEVELS - 1) for step in range(HEAT_LEVELS)]
    rules = (
        f".h{level}{{fill:rgb(var(--local-rgb)/{strength:.3f})}}"
        for level, strength in enumerate(strengths, 1)
    )
    return "\n".join(rules)


STYLE = f"""
:root{{color-scheme:light dark;--on-middle:var(--text);{_variables(LIGHT)}}}
@media (prefers-color-scheme:dark){{:root{{--on-middle:var(--surface);{_variables(DARK)}}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--background);color:var(--text);
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}}
main{{max-width:1040px;margin:0 auto;padding:40px 24px 64px}}
h1{{font-size:34px;line-height:1.15;letter-spacing:-.02em;margin:0 0 8px;font-weight:680}}
h1 span{{color:var(--faint);font-weight:400}}
h2{{font-size:20px;letter-spacing:-.01em;margin:48px 0 10px;font-weight:640}}
p{{margin:0 0 12px;max-width:70ch}}
.lede{{color:var(--faint);font-size:17px;margin:0;max-width:none;text-wrap:balance}}
.about{{color:var(--faint);font-size:14px;margin:-6px 0 14px;max-width:92ch}}
.alert{{border-left:4px solid var(--warning);background:var(--surface);
 padding:10px 16px;margin:20px 0 0;border-radius:0 8px 8px 0}}
.tiles{{display:grid;grid-template-columns:repeat(5,1fr);gap:12px;margin:28px 0 0}}
.tile{{background:var(--surface);border:1px solid var(--line);border-radius:12px;
 padding:14px 16px;min-width:0}}
.tile dt{{font-size:13px;color:var(--faint);margin:0}}
.tile dd{{margin:2px 0 0;font-size:25px;line-height:1.2;font-weight:640;
 letter-spacing:-.02em;font-variant-numeric:tabular-nums}}
.tile small{{display:block;font-size:12.5px;line-height:1.4;font-weight:400;
 letter-spacing:0;color:var(--faint);margin-top:4px}}
.tile.received dd{{color:var(--received)}}
.tile.local dd{{color:var(--local)}}
.card{{background:var(--surface);border:1px solid var(--line);border-radius:12px;
 padding:16px;margin:0}}
.scroll{{overflow:auto;max-height:720px;padding:0}}
.legend{{display:flex;flex-wrap:wrap;gap:4px 20px;font-size:13.5px;color:var(--faint);
 margin:0 0 8px;max-width:none}}
.legend span{{display:inline-flex;align-items:center;gap:7px}}
.key{{width:26px;height:12px;flex:none}}
.chart{{display:block;width:100%;height:auto;font-size:12.5px}}
.chart text{{font-family:inherit;font-variant-numeric:tabular-nums}}
.narrow{{display:none}}
.grid{{stroke:var(--line);stroke-width:1}}
.tick{{fill:var(--faint)}}
.not-run{{fill:var(--faint);opacity:.08}}
.reading{{fill:transparent}}
.reading:hover{{fill:var(--faint);opacity:.1}}
.mean{{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}}
.worst{{fill:none;stroke-width:1.1;stroke-dasharray:2 4;opacity:.85}}
.bar{{stroke-width:7;opacity:.25}}
.band{{stroke:none;opacity:.14}}
.end{{font-weight:640}}
.mean.received,.worst.received,.bar.received{{stroke:var(--received)}}
.mean.local,.worst.local,.bar.local{{stroke:var(--local)}}
.band.received,.mark.received,.end.received{{fill:var(--received)}}
.band.local,.mark.local,.end.local{{fill:var(--local)}}
.chart .mark{{stroke:var(--surface);stroke-width:1.2}}
table{{border-collapse:separate;border-spacing:0;width:100%;font-size:13.5px;
 font-variant-numeric:tabular-nums}}
th,td{{padding:6px 10px;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}}
tbody tr:last-child>*{{border-bottom:0}}
thead th,thead td{{color:var(--faint);font-weight:500;background:var(--surface)}}
thead{{position:sticky;top:0;z-index:2}}
thead .group{{text-align:center;font-size:12px;padding-bottom:0}}
thead tr:first-child>*{{border-bottom:0}}
tbody th{{font-weight:500}}
.number{{text-align:right}}
.devices th,.devices td{{padding:3px 8px;height:30px}}
.devices .label{{text-align:center;padding:3px 0}}
.devices .name{{position:sticky;left:0;background:var(--surface);z-index:1;padding-left:16px}}
.devices .mix{{text-align:center;padding:0;min-width:30px;border:1px solid var(--surface);
 border-width:1px 0 0 1px;font-size:12px;--tint:var(--local-rgb);
 background:rgb(var(--tint)/calc(var(--share,0)*.95 + .045))}}
.devices .attacker .mix{{--tint:var(--attacker-rgb)}}
.devices .attacker .number{{color:var(--faint)}}
.many-labels .mix{{min-width:11px}}
.many-labels .mix span{{display:none}}
.spark svg{{display:block;width:84px;height:22px}}
.spark .mean{{stroke-width:1.4}}
.badge{{margin-left:8px;padding:1px 7px 2px;border-radius:99px;font-size:11.5px;font-weight:600;
 color:var(--surface);background:var(--attacker)}}
.scale{{display:inline-flex;gap:2px;color:var(--text);vertical-align:-4px}}
.scale .step{{padding:1px 7px;font-size:12px;
 background:rgb(var(--local-rgb)/calc(var(--share,0)*.95 + .045))}}
{_shades()}
{_heat()}
.h0{{fill:var(--faint);opacity:.07}}
.heat{{display:block;max-width:100%;height:auto;font-size:12px}}
.heat .name{{fill:var(--text)}}
.heat .name.attacker{{fill:var(--attacker);font-weight:640}}
.cross{{fill:none;stroke:var(--received);stroke-width:2;stroke-linecap:round}}
.wide-drawing{{overflow-x:auto}}
.ramp{{width:120px;height:12px;border-radius:3px}}
.ramp.short{{width:12px}}
.attacking{{color:var(--attacker);font-weight:640}}
.pair{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:20px}}
.pair figure{{margin:0;min-width:0;max-width:560px}}
figcaption{{font-size:13.5px;color:var(--faint);margin:0 0 6px}}
.step polyline{{fill:none;stroke:var(--local);stroke-width:1.4;opacity:.55;stroke-linejoin:round}}
.step circle{{fill:var(--local);opacity:.55}}
.step:hover polyline{{opacity:1;stroke-width:2.6}}
.step.crowd polyline{{opacity:1;stroke-width:2.2}}
.step.apart polyline{{stroke:var(--received);opacity:1;stroke-width:2}}
.step.apart circle{{fill:var(--received);opacity:1}}
.step.attacker polyline{{stroke:var(--attacker)}}
.step.attacker circle{{fill:var(--attacker)}}
.zero{{stroke:var(--faint)}}
.detail{{white-space:normal;min-width:180px;overflow-wrap:anywhere;color:var(--faint)}}
.standing{{margin-left:8px;color:var(--warning);font-size:12.5px}}
.facts{{display:grid;grid-template-columns:repeat(3,1fr);gap:0 32px;margin:0;font-size:14.5px}}
.facts div{{display:flex;justify-content:space-between;gap:16px;padding:7px 0;
 border-bottom:1px solid var(--line);min-width:0}}
.facts dt{{color:var(--faint);flex:none}}
.facts dd{{margin:0;text-align:right;overflow-wrap:anywhere;min-width:0}}
ul{{margin:0;padding-left:20px}}
pre{{margin:0;padding:14px 16px;overflow-wrap:anywhere;white-space:pre-wrap;
 font:13.5px/1.6 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}}
footer{{margin-top:48px;font-size:13px;color:var(--faint)}}
@media (max-width:820px){{.tiles{{grid-template-columns:repeat(2,1fr)}}
 .tile.received,.tile.local{{grid-column:span 1}}
 .facts{{grid-template-columns:1fr 1fr}}.spark,.samples{{display:none}}}}
@media (max-width:660px){{.heat{{max-width:none}}.wide{{display:none}}
 .narrow{{display:block;max-width:480px}}}}
@media (max-width:560px){{main{{padding:24px 14px 48px}}h1{{font-size:27px}}
 .lede{{font-size:15.5px}}h2{{margin-top:36px}}
 .card{{padding:12px}}.card.scroll{{padding:0}}
 .tile{{padding:11px 12px}}.tile dd{{font-size:21px}}.tile:last-child{{grid-column:1/-1}}
 .facts{{grid-template-columns:1fr}}
 table{{font-size:12.5px}}th,td{{padding:5px 7px}}
 .devices th,.devices td{{padding:2px 4px}}.devices .name{{padding-left:10px}}
 .devices .mix{{min-width:14px}}.numbered .mix span{{display:none}}
 .badge{{display:block;width:max-content;margin:0 0 2px}}}}
@media print{{.scroll{{max-height:none;overflow:visible}}body{{background:#fff}}
 .card,.tile{{break-inside:avoid}}}}
"""
