"""Makes the links and QR codes with which a chat client logs in.

Source: the schemes dclogin (version 1) and dcaccount of Delta Chat. The only importer of segno,
which it loads when first needed.
"""

import io
from urllib.parse import quote

from chatmaild.console import Console


def login(address: str, password: str) -> str:
    """Return a ``dclogin:`` link: address and password; the client finds everything else."""
    return f"dclogin:{quote(address, safe='@')}?p={quote(password, safe='')}&v=1"


def signup(domain: str) -> str:
    """Return a ``dcaccount:`` link: the client makes up name and password itself."""
    return f"dcaccount:{domain}"


def svg(link: str) -> str:
    """Return the QR code of `link` as an SVG element.

    It is dark on light in every colour scheme: not all scanners read the reverse.
    """
    import segno
    text: str = segno.make(link, error="m", micro=False).svg_inline(
        border=4, omitsize=True, dark="#000", light="#fff")
    return text


def show(console: Console, link: str, qr: bool) -> None:
    """Print `link`, at a terminal with its QR code if `qr`."""
    console.line(link)
    if qr and console.is_terminal:
        import segno
        text = io.StringIO()
        segno.make(link, error="l").terminal(text, compact=True)
        console.line(text.getvalue())
