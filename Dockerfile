# docker build -t vs-smsr .                              the cpu engine
# docker build -t vs-smsr --build-arg EXTRA=[cuda13] .    and the cuda engine (docker run --gpus all ...)
# docker run --rm -v "$PWD:/work" vs-smsr upscale film.mkv
#
# Tried in November 2026 without Docker, on Debian 12: the RUN line in a fresh environment, with EXTRA empty (Python 3.13)
# and with EXTRA=[cuda13] (Python 3.12; 2.5 GB, CUDA libraries included). In both, doctor reports a working cpu engine and
# vspipe, and that the machine has no GPU. Not tried: docker build itself, and --gpus.
ARG PYTHON=3.13
FROM python:${PYTHON}-slim
ARG EXTRA=
COPY . /source
RUN pip install --no-cache-dir "/source${EXTRA}" && rm -rf /source && vapoursynth config && vs-smsr doctor
WORKDIR /work
ENTRYPOINT ["vs-smsr"]
