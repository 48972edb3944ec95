# The released versitygw from Go's module proxy; `VGW_BACKEND` starts it, as in the official image.
FROM python:3.11-slim-bookworm
LABEL dogbreed.stand-in="true"
COPY versitygw /usr/local/bin/
ENTRYPOINT ["/bin/sh", "-c", "exec versitygw \"$VGW_BACKEND\" \"$VGW_BACKEND_ARG\""]
