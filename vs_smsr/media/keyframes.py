"""Key frames at which decoding may begin: all that is shown from them on is what a decoder of the whole file gives.

A container's own mark is not enough: it is also put on pictures after which older ones are still used. What is asked is
the stream itself, and only where its standard answers:

* H.264: an IDR picture, or a recovery point that is exact at once (open groups of pictures, as x264 and Blu-ray have
  them). HEVC: any intra random access picture. What is shown before such a picture but follows it in the file may lack
  its references, and does not count.
* MPEG-1 and MPEG-2: an intra picture with a sequence header, which brings the quantiser matrices.
* VP8, VP9 and AV1: a key frame that is shown. FFV1: what the container marks, as all contexts begin anew.
* Codecs of which each frame stands for itself (ProRes, DNxHD, MJPEG, raw ...): every frame.

Others are decoded from the first frame on, MPEG-4 Part 2 too: which inverse transform its decoder takes depends on a
text that may stand in the first packet alone.

Sources: ITU-T H.264 7.3.1, 7.4.1 and D.1.8; ITU-T H.265 7.4.2.2; ISO/IEC 13818-2 6.2.2.1; RFC 6386 9.1; VP9 bitstream
specification 6.2; AV1 bitstream specification 5.3.2 and 5.9.2; ISO/IEC 14496-15 5.3.3.1 and 8.3.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

HEAD = 1 << 16  # bytes of a packet that are looked at: headers and texts before the picture
H264_SLICE, H264_IDR, H264_SEI, H264_SPS = 1, 5, 6, 7
HEVC_IRAP, HEVC_PICTURES, HEVC_SPS = range(16, 24), range(32), 33
RECOVERY_POINT = 6
SEQUENCE, PICTURE = b"\x00\x00\x01\xb3", b"\x00\x00\x01\x00"
AV1_FRAMES = (3, 6)  # types of the units that begin with a frame header


def is_entry(packet: Packet[Any], context: VideoCodecContext) -> bool:
    """May decoding begin with this packet? False too where nobody can tell."""
    codec = context.codec
    if codec.intra_only:
        return True
    rule = _RULES.get(codec.canonical_name)
    return bool(packet.is_keyframe and rule and rule(bytes(memoryview(packet)[:HEAD]), context.extradata or b""))


def shows_one_frame_a_packet(context: VideoCodecContext) -> bool:
    """Is the number of a packet, in the order of showing, that of its frame?

    Not where fields may be packets of their own (H.264 unless its header excludes fields, MPEG-2), or packets hidden.
    """
    codec = context.codec
    if codec.canonical_name == "h264":
        return _is_progressive(context.extradata or b"")
    return codec.intra_only or codec.canonical_name in ("hevc", "av1", "vp9", "ffv1")


def _h264(data: bytes, extradata: bytes) -> bool:
    exact = headers = False
    for unit in _units(data, _length_size(extradata, 4)):
        kind = unit[0] & 31
        headers |= kind == H264_SPS
        if kind == H264_SEI:
            exact |= _recovers_at_once(unit)
        elif kind in (H264_SLICE, H264_IDR):
            return (kind == H264_IDR or exact) and (headers or _length_size(extradata, 4) > 0)
    return False


def _recovers_at_once(unit: bytes) -> bool:
    """A recovery point after 0 frames, with an exact match."""
    data, at = unit.replace(b"\x00\x00\x03", b"\x00\x00"), 1
    while at + 2 < len(data):
        numbers = []
        for _ in range(2):  # type and size, each a sum of bytes up to one below 255
            number = 0
            while at < len(data) - 1 and data[at] == 255:
                number, at = number + 255, at + 1
            numbers.append(number + data[at])
            at += 1
        if numbers[0] == RECOVERY_POINT and at < len(data):
            return data[at] & 0xC0 == 0xC0
        at += numbers[1]
    return False


def _hevc(data: bytes, extradata: bytes) -> bool:
    headers = False
    for unit in _units(data, _length_size(extradata, 21)):
        kind = unit[0] >> 1 & 63
        headers |= kind == HEVC_SPS
        if kind in HEVC_PICTURES:
            return kind in HEVC_IRAP and (headers or _length_size(extradata, 21) > 0)
    return False


def _length_size(extradata: bytes, at: int) -> int:
    """Bytes of the length before each unit, as MP4 and Matroska have them; 0: units follow start codes."""
    return (extradata[at] & 3) + 1 if len(extradata) > at and extradata[0] == 1 else 0


def _units(data: bytes, length_size: int) -> Iterator[bytes]:
    """The NAL units of a packet, each without its length or start code; none is empty."""
    if not length_size:
        yield from filter(None, data.split(b"\x00\x00\x01")[1:])
        return
    at = 0
    while at + length_size < len(data):
        size = int.from_bytes(data[at : at + length_size])
        if size:
            yield data[at + length_size : at + length_size + size]
        at += length_size + size


def _mpeg(data: bytes, extradata: bytes) -> bool:
    return 0 <= data.find(SEQUENCE) < data.find(PICTURE)


def _vp8(data: bytes, extradata: bytes) -> bool:
    return bool(data) and data[0] & 0b1_0001 == 0b1_0000  # key, shown


def _vp9(data: bytes, extradata: bytes) -> bool:
    """After the mark 2 and the profile: no repeated frame, a key frame, shown. Profile 3 has one bit more."""
    return bool(data) and data[0] >> 6 == 2 and data[0] & 0b11_0000 != 0b11_0000 and data[0] & 0b1110 == 0b0010


def _av1(data: bytes, extradata: bytes) -> bool:
    """The first frame header: no repeated frame, a key frame, shown."""
    at = 0
    while at < len(data):
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        size = shift = 0
        while sized and at < len(data):
            size |= (data[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 128:
                break
        if kind in AV1_FRAMES:
            return at < len(data) and data[at] >> 4 == 1
        if not sized:
            return False
        at += size
    return False


def _ffv1(data: bytes, extradata: bytes) -> bool:
    return True


_RULES = {
    "h264": _h264,
    "hevc": _hevc,
    "mpeg1video": _mpeg,
    "mpeg2video": _mpeg,
    "vp8": _vp8,
    "vp9": _vp9,
    "av1": _av1,
    "ffv1": _ffv1,
}


def _is_progressive(extradata: bytes) -> bool:
    """Does every sequence parameter set of H.264 exclude fields (frame_mbs_only_flag)?"""
    if extradata[:1] == b"\x01":
        sets, at = [], 6
        for _ in range(extradata[5] & 31 if len(extradata) > 5 else 0):
            size = int.from_bytes(extradata[at : at + 2])
            sets.append(extradata[at + 2 : at + 2 + size])
            at += 2 + size
    else:
        sets = [unit for unit in _units(extradata, 0) if unit[0] & 31 == H264_SPS]
    return bool(sets) and all(_frames_only(unit) for unit in sets)


def _frames_only(unit: bytes) -> bool:
    """Read a sequence parameter set up to its frame_mbs_only_flag."""
    try:
        bits = _Bits(unit[1:].replace(b"\x00\x00\x03", b"\x00\x00"))
        profile = bits.read(24) >> 16
        bits.golomb()
        if profile in (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135):
            if bits.golomb() == 3:
                bits.read(1)
            bits.golomb(), bits.golomb()
            bits.read(1)
            if bits.read(1):  # scaling lists
                return False
        bits.golomb()
        order = bits.golomb()
        if order == 0:
            bits.golomb()
        elif order == 1:
            return False
        bits.golomb()
        bits.read(1)
        bits.golomb(), bits.golomb()
        return bool(bits.read(1))
    except IndexError:
        return False


class _Bits:
    """Bits of a header, the greatest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, count: int) -> int:
        """Raises IndexError at the end."""
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - self._at & 7) & 1
            self._at += 1
        return value

    def golomb(self) -> int:
        """An unsigned exponential Golomb code."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)
