# TensorFlow from PyPI: what the official CPU image holds, as root and without an entrypoint like that one.
FROM python:3.11-slim-bookworm
LABEL dogbreed.stand-in="true"
RUN --mount=type=secret,id=ca,target=/run/secrets/ca.crt \
    pip install --no-cache-dir --cert /run/secrets/ca.crt tensorflow-cpu==2.21.0
