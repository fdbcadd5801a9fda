"""A page in a notebook, as HTML that takes its colours from where it stands, light or dark.

Wide, it is a table; where there is little room, each row is a list. Without the style, as where a
notebook is shown without it, a plain table is left. What stands on the page is not known here.
"""

from html import escape

from ._lines import Side
from ._page import NOTES, OUTPUT, Line, Page

_FIELDS = 4
_STYLE = """
.dagrax{container-type:inline-size;overflow-x:auto;margin:.3em 0;
 font:13px/1.45 system-ui,sans-serif;color:inherit}
.dagrax table{border-collapse:collapse;margin:.5em 0;width:auto;max-width:100%}
.dagrax th,.dagrax td{padding:.25em .7em;text-align:left;vertical-align:top;background:none;
 border:0;border-bottom:1px solid rgba(128,128,128,.35);color:inherit;font-weight:normal}
.dagrax thead th{font-weight:600;border-bottom:2px solid rgba(128,128,128,.6);white-space:nowrap}
.dagrax .r{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.dagrax code{font:12px/1.45 ui-monospace,monospace;white-space:nowrap;color:inherit;background:none;
 padding:0}
.dagrax tbody th{font-weight:600;white-space:nowrap}
.dagrax .notes{min-width:13em}
.dagrax .idle{opacity:.65;font-style:italic}
.dagrax .share{min-width:4em;
 background:linear-gradient(90deg,rgba(0,114,178,.38) var(--share),transparent 0)}
.dagrax details summary{cursor:pointer}
.dagrax p{margin:.3em 0}
.dagrax .warning{border-left:4px solid #d55e00;padding-left:.6em;font-weight:600}
@container (max-width:640px){
 .dagrax table,.dagrax tbody,.dagrax tr,.dagrax td,.dagrax tbody th{display:block}
 .dagrax thead{display:none}
 .dagrax tr{border-top:2px solid rgba(128,128,128,.6);padding:.3em 0}
 .dagrax td,.dagrax tbody th{border:0;padding:.1em 0;white-space:normal;overflow-wrap:anywhere}
 .dagrax code{white-space:normal}
 .dagrax .r{text-align:left}
 .dagrax .notes{min-width:0}
 .dagrax td:empty{display:none}
 .dagrax td::before{content:attr(data-of) " ";opacity:.7}
}
"""


def html(page: Page) -> str:
    """A page as HTML."""
    head = "".join(
        f"<th{_class(side)}>{escape(title)}</th>"
        for title, side in zip(page.columns, page.sides, strict=True)
    )
    body = "".join(_row(page, line) for line in page.lines)
    below = "".join(f"<p>{escape(text)}</p>" for text in page.below)
    warning = f'<p class="warning">{escape(page.warning)}</p>' if page.warning else ""
    return (
        f'<div class="dagrax"><style>{_STYLE}</style><p>{escape(page.headline)}</p>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}{warning}</div>"
    )


def _row(page: Page, line: Line) -> str:
    first, *rest = zip(page.columns, page.sides, line.cells, strict=True)
    cells = "".join(_cell(line, *each) for each in rest)
    idle = ' class="idle"' if line.is_idle else ""
    return f"<tr{idle}><th>{escape(first[2])}</th>{cells}</tr>"


def _cell(line: Line, title: str, side: Side, cell: str) -> str:
    of = f'data-of="{escape(title)}"'
    if title == OUTPUT:
        return f"<td {of}>{_fields(line.fields)}</td>"
    if title == "share" and line.share is not None:
        bar = f'style="--share:{100 * line.share:.1f}%"'
        return f'<td class="r share" {bar} {of}>{escape(cell)}</td>'
    if title == NOTES:
        return f'<td class="notes" {of}>{escape(cell)}</td>'
    return f"<td{_class(side)} {of}>{escape(cell)}</td>"


def _fields(fields: tuple[str, ...]) -> str:
    if len(fields) <= _FIELDS + 1:
        return _coded(fields)
    rest = f"… {len(fields) - _FIELDS} more"
    return (
        f"{_coded(fields[:_FIELDS])}<details><summary>{rest}</summary>"
        f"{_coded(fields[_FIELDS:])}</details>"
    )


def _coded(fields: tuple[str, ...]) -> str:
    return ", ".join(f"<code>{escape(field)}</code>" for field in fields)


def _class(side: Side) -> str:
    return ' class="r"' if side == "right" else ""
