"""A contact sheet: small pictures in a grid, each with a line or two below it.

Takes image sources with captions, gives one PIL image, and its bytes as a PNG. A picture that
cannot be read leaves an empty frame with its caption. Knows no files to write, and no search.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.images.pillow import RefusedImageError, decode, load_pillow
from embedge.images.pixels import prepare
from embedge.images.sources import open_source
from embedge.printable import printable

if TYPE_CHECKING:
    from PIL import Image

PICTURE = 240  # pixels, the longer edge of a small picture
GAP = 12  # pixels around each
LINE = 18  # pixels of a caption's line
LINES = 2
FONT_SIZE = 13
COLUMNS = 5  # at most
LONGEST = 100  # characters of a line, before it is measured
MOST = 200  # pictures: about 16 million pixels
MARK = {"Software": "embedge contact sheet"}  # a text chunk of the PNG
PAPER, FRAME, INK = (255, 255, 255), (225, 225, 225), (40, 40, 40)


def draw_sheet(pictures: Sequence[tuple[Any, Sequence[str]]]) -> "Image.Image":
    """Draws sources with their captions, row by row; those beyond MOST are left out."""
    pillow = load_pillow()
    from PIL import ImageDraw

    shown = pictures[:MOST]
    columns = min(COLUMNS, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    width, height = PICTURE + GAP, PICTURE + LINES * LINE + GAP
    sheet: Image.Image = pillow.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    font = _font()
    for index, (source, caption) in enumerate(shown):
        left, top = GAP + index % columns * width, GAP + index // columns * height
        small = _small(source)
        if small is None:
            pen.rectangle((left, top, left + PICTURE - 1, top + PICTURE - 1), outline=FRAME)
        else:
            place = left + (PICTURE - small.width) // 2, top + PICTURE - small.height
            sheet.paste(small, place)
        for number, line in enumerate(caption[:LINES]):
            where = (left, top + PICTURE + 2 + number * LINE)
            pen.text(where, _fitting(line, pen, font), fill=INK, font=font)
    return sheet


def encode_sheet(sheet: "Image.Image") -> bytes:
    """The sheet as a PNG that says what it is."""
    from PIL import PngImagePlugin

    text = PngImagePlugin.PngInfo()
    for name, value in MARK.items():
        text.add_text(name, value)
    data = io.BytesIO()
    sheet.save(data, "PNG", pnginfo=text)
    return data.getvalue()


def is_sheet(path: Path) -> bool:
    """Whether a file is one of these sheets, rather than a picture of the user's own."""
    try:
        with open_source(path, allow_urls=False) as image:
            return MARK.items() <= image.info.items()
    except RefusedImageError:
        return False


def _small(source: Any) -> "Image.Image | None":
    """A small picture, upright, on the sheet's white; None if it cannot be read."""
    try:
        with open_source(source, allow_urls=False) as image:
            if image is not source:
                image.draft(None, (2 * PICTURE, 2 * PICTURE))  # JPEGs decode at a fraction
            decode(image, shared=image is source)
            picture = prepare(image, upright=True)
            if "A" not in picture.mode and "transparency" not in picture.info:
                picture = picture.convert("RGB")
            small = picture.convert("RGBA")
    except RefusedImageError:
        return None
    small.thumbnail((PICTURE, PICTURE))
    paper: Image.Image = load_pillow().new("RGBA", small.size, (*PAPER, 255))
    paper.alpha_composite(small)
    return paper.convert("RGB")


def _fitting(text: str, pen: Any, font: Any) -> str:
    """The text, its beginning cut off until it fits below a picture: a name's end says more."""
    text = printable(text)
    if not hasattr(font, "getname"):  # Pillow's oldest font, which knows Latin-1 alone
        text = text.encode("latin-1", "replace").decode("latin-1")
    cut = text if len(text) <= LONGEST else "…" + text[-LONGEST:]
    while pen.textlength(cut, font=font) > PICTURE and len(cut) > 2:
        cut = "…" + cut[2:] if cut.startswith("…") else "…" + cut[1:]
    return cut


def _font() -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(FONT_SIZE)
    except (ImportError, OSError):  # a Pillow that was built without FreeType
        return ImageFont.load_default()
