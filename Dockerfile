# docker build -t vs-smsr .                              the cpu engine
# docker build -t vs-smsr --build-arg EXTRA=[cuda13] .    and the cuda engine (docker run --gpus all ...)
# docker run --rm -v "$PWD:/work" vs-smsr upscale film.mkv
ARG PYTHON=3.13
FROM python:${PYTHON}-slim
ARG EXTRA=
COPY . /source
RUN pip install --no-cache-dir "/source${EXTRA}" && rm -rf /source && vapoursynth config && vs-smsr doctor
WORKDIR /work
ENTRYPOINT ["vs-smsr"]
