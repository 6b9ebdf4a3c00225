"""Whether a JPEG is all there, by its markers; its pixels are not decoded.

libjpeg makes grey, or coarse blocks, of what is missing before an end marker, and tells nobody.
Source: ITU-T T.81, annexes B and G.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_END, _SCAN = 0xD9, 0xDA
_NO_FRAMES = frozenset({0xC4, 0xC8, 0xCC})  # Between the markers of frames.
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
# Not what stands for itself among the pixels: 0xFF as a value, and restarts.
_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
_UNKNOWN = 0xFF


@dataclass(frozen=True)
class JpegEnd:
    """How a JPEG ends.

    Attributes:
        at: the offset of the end marker of the first picture; None if there is none.
        one_scan: whether all pixels are coded in one go, so that a decoder can stop before the end
            marker.
        lacks_detail: whether scans are missing: colours, frequencies, or their lower bits.
    """

    at: int | None
    one_scan: bool
    lacks_detail: bool


def jpeg_end(content: bytes) -> JpegEnd:
    """Looks through the markers of a JPEG, from its start to the end of its first picture.

    What comes after it, such as a phone's short film or a second picture, does not count.
    """
    components: dict[int, bytearray] = {}  # Of each: the lowest bit that has come, by frequency.
    progressive, scans, at = False, 0, 2
    end = None
    while (marker := _MARKER.search(content, at)) is not None:
        kind, begin = marker[1][0], marker.end()
        if kind == _END:
            end = marker.start()
            break
        at = begin
        if kind in _WITHOUT_LENGTH:
            continue
        at += max(2, int.from_bytes(content[begin : begin + 2], "big"))
        segment = content[begin + 2 : at]
        if 0xC0 <= kind <= 0xCF and kind not in _NO_FRAMES:
            progressive = kind & 3 == 2
            components = {one: bytearray([_UNKNOWN]) * 64 for one in segment[6::3]}
        elif kind == _SCAN and len(segment) >= 6:
            scans += 1
            first, last, bits = segment[-3:] if progressive else (0, 63, 0)
            for one in segment[1 : 2 * segment[0] + 1 : 2]:
                if one in components:
                    components[one][first : min(last, 63) + 1] = bytes(
                        [bits & 15] * (min(last, 63) + 1 - first)
                    )
    return JpegEnd(
        at=end,
        one_scan=scans == 1 and not progressive,
        lacks_detail=any(any(lowest) for lowest in components.values()),
    )
