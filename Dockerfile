# posestream without PyTorch, as a user of its own. How to run it: docs/how-to/deploy.md
#
#   docker build --tag posestream .
#   docker build --tag posestream:cuda --build-arg 'RUNTIME=onnxruntime-gpu[cuda,cudnn]' .
#
# BASE is any image of Debian or Ubuntu whose Python is 3.11 or newer.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS system
# What OpenCV links; and Python, unless the base has one that makes virtual environments.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libgl1 libglib2.0-0 \
    && { python3 -c 'import ensurepip, venv' 2>/dev/null \
        || apt-get install --yes --no-install-recommends python3 python3-venv; } \
    && rm -rf /var/lib/apt/lists/*

FROM system AS build
ARG EXTRAS=metrics,mqtt,openvino,record,web
ARG RUNTIME=onnxruntime
RUN python3 -m venv /opt/posestream
ENV PATH=/opt/posestream/bin:$PATH
COPY . /src
RUN pip install --no-cache-dir --constraint /src/constraints.txt "/src[${EXTRAS}]"
# ONNX Runtime's packages share their files, so that one has to go before the other comes.
RUN if [ "${RUNTIME}" != onnxruntime ]; then \
        pip uninstall --yes onnxruntime && pip install --no-cache-dir "${RUNTIME}"; \
    fi

FROM system
# Not 1000, which is a user of some bases. The folders are for this user alone, as posestream demands.
RUN useradd --uid 10001 --create-home posestream \
    && install --directory --owner=posestream --mode=700 \
        /run/posestream /var/cache/posestream /var/lib/posestream
COPY --from=build /opt/posestream /opt/posestream
ENV PATH=/opt/posestream/bin:$PATH \
    POSESTREAM_CACHE=/var/cache/posestream \
    POSESTREAM_RUN_DIR=/run/posestream
USER 10001
WORKDIR /var/lib/posestream
ENTRYPOINT ["posestream"]
CMD ["--help"]
