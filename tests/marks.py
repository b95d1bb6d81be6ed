"""What a saved picture says of where it comes from, read as any program would that knows XMP."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image

DRAWN = "trainedAlgorithmicMedia"
EDITED = "compositeWithTrainedAlgorithmicMedia"
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def mark_of(source: str | Path | Any) -> str:
    """The IPTC's term in a PNG, without its vocabulary."""
    with Image.open(source) as image:
        image.load()
        (about,) = ElementTree.fromstring(image.info["XML:com.adobe.xmp"]).iter(
            "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
        )
    term = about.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert term is not None
    assert term.startswith(VOCABULARY)
    return term.removeprefix(VOCABULARY)
