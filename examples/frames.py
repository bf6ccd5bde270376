"""Frames from any decoder through `Upscaler`, one after the other: python examples/frames.py VIDEO FOLDER"""

import sys
from pathlib import Path

import av
import cv2

from vs_smsr import Upscaler

video, folder = sys.argv[1], Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
upscaler = Upscaler(scale=2)
with av.open(video) as container:
    frames = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
    for number, large in enumerate(upscaler.frames(frames)):
        cv2.imwrite(str(folder / f"{number:05}.png"), large[..., ::-1])
        if number == 4:
            break
