"""A drawing as an SVG file that stands alone: its own stylesheet, light and dark by the viewer's setting."""

from __future__ import annotations

STYLE = """<style>
:root{--ink:#1c2733;--soft:#5b6775;--grid:#e3e8ee;--base:#0b6e99;--held:#c2410c;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa7b4;--grid:#2a333d;--base:#5bb8e0;--held:#f4915e}
:root{--paper:#11161c}}
svg{background:var(--paper)}text{font:13px system-ui,sans-serif;fill:var(--ink)}
.tick,.axis{fill:var(--soft);font-size:12px}.strong{font-weight:650}.figure{font-size:12px;fill:var(--soft)}
.grid{stroke:var(--grid)}.rule{stroke:var(--soft)}.curve{fill:none;stroke:var(--base);stroke-width:2}
.area{fill:var(--base);fill-opacity:.14}.base{fill:var(--base)}.held{fill:var(--held)}
.chance{stroke:var(--soft);stroke-dasharray:3 3}.whisker{stroke:var(--base);stroke-width:1.6}
.hollow{fill:var(--paper);stroke:var(--base);stroke-width:1.6}
.side{fill:none;stroke-width:2}.side0{stroke:#0b6e99}.side1{stroke:#c2410c}.side2{stroke:#7c5cbf}.side3{stroke:#5b6775}
.side4{stroke:#2e7d4f}.side5{stroke:#b8860b}.dot0{fill:#0b6e99}.dot1{fill:#c2410c}.dot2{fill:#7c5cbf}
.dot3{fill:#5b6775}.dot4{fill:#2e7d4f}.dot5{fill:#b8860b}
.soft-whisker{stroke:var(--soft);stroke-width:1.6}.soft-hollow{fill:var(--paper);stroke:var(--soft);stroke-width:1.6}
</style>"""


def svg_file(drawn: str) -> str:
    """What `Drawing.render` gives, as a whole file."""
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{STYLE}", 1)
