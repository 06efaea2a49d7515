"""The links and QR codes with which a chat client logs in.

Source: the schemes dclogin (version 1) and dcaccount of Delta Chat. The only importer of segno,
which is loaded when first needed.
"""

import io
from urllib.parse import quote

from chatmaild.console import Console


def login(address: str, password: str) -> str:
    """A ``dclogin:`` link: address and password, everything else is found by the client."""
    return f"dclogin:{quote(address, safe='@')}?p={quote(password, safe='')}&v=1"


def signup(domain: str) -> str:
    """A ``dcaccount:`` link: the client makes up name and password itself."""
    return f"dcaccount:{domain}"


def svg(link: str) -> str:
    """The QR code of `link` as an SVG element, dark on light in every colour scheme: not all
    scanners read the reverse."""
    import segno
    text: str = segno.make(link, error="m", micro=False).svg_inline(
        border=4, omitsize=True, dark="#000", light="#fff")
    return text


def show(console: Console, link: str, qr: bool) -> None:
    """Print `link`, with its QR code if a person is looking."""
    console.line(link)
    if qr and console.is_terminal:
        import segno
        text = io.StringIO()
        segno.make(link, error="l").terminal(text, compact=True)
        console.line(text.getvalue())
