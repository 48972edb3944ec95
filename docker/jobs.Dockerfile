# The image of the jobs: `--target preprocess` (fetch, preprocess) or `--target train` (the others), which with
# `--build-arg DEVICE=gpu` brings CUDA. Any base with Python 3.11 and its venv will do, with or without CUDA.
ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG DEVICE=cpu

FROM ${BASE_IMAGE} AS packages
# All packages are those of the lock, TensorFlow too: the environment hides what a base brings, so that images over
# different bases run the same versions, which are the ones that the tests ran with.
# Optional build secrets for hosts behind a proxy or a mirror: `pip` is a pip.conf, `ca` a certificate that it may name.
COPY docker/requirements-jobs.lock /tmp/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false \
    python -m venv /opt/dogbreed \
 && /opt/dogbreed/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
      --no-deps --require-hashes -r /tmp/requirements-jobs.lock
ENV PATH=/opt/dogbreed/bin:$PATH
# Downloaded weights and compiled CUDA kernels (1 GiB by default) lie with the scratch files: /tmp is small, or memory.
# getpass.getuser() raises for a uid that is not in passwd unless USER is set; HOME must be writable by any uid.
# NumPy's OpenBLAS starts a thread per core at import, hundreds on a large host, for matrices of 2 x 2.
ENV HOME=/tmp \
    USER=dogbreed \
    TMPDIR=/work \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    KERAS_HOME=/work/.keras \
    CUDA_CACHE_PATH=/work/.nv/ComputeCache \
    OPENBLAS_NUM_THREADS=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    MLFLOW_DISABLE_TELEMETRY=true
# Group 0 may write: whatever uid a cluster gives a container, its group is 0.
# The TensorFlow base leaves a shell start-up file that everybody may write.
RUN mkdir /work && chown 10001:0 /work && chmod 0770 /work \
 && if [ -e /etc/bash.bashrc ]; then chmod 0644 /etc/bash.bashrc; fi
WORKDIR /work
ENTRYPOINT ["python", "-m"]

FROM packages AS cpu-packages

FROM packages AS gpu-packages
COPY docker/requirements-cuda.lock /tmp/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false \
    python -m pip install --no-cache-dir --disable-pip-version-check \
      --no-deps --require-hashes -r /tmp/requirements-cuda.lock
# TensorFlow finds these packages beside itself before any CUDA of the base, with two exceptions. It looks for
# libcusolver where the dynamic linker does (the RUNPATH of libtensorflow_framework.so.2 leaves it out), and XLA looks
# for ptxas on PATH first, where the GPU base of TensorFlow has that of CUDA 12.3.
COPY docker/gpu_libraries.py /tmp/
RUN printf '%s\n' /opt/dogbreed/lib/python3.11/site-packages/nvidia/*/lib > /etc/ld.so.conf.d/00-nvidia-wheels.conf \
 && ldconfig \
 && ln -s ../lib/python3.11/site-packages/nvidia/cuda_nvcc/bin/ptxas /opt/dogbreed/bin/ptxas \
 && python /tmp/gpu_libraries.py check

FROM packages AS preprocess
COPY jobs /app/jobs
COPY dogbreed /app/dogbreed
RUN chmod -R a+rX /app  # a checkout under umask 077 or 027; Kubernetes runs it with a group of its own
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dogbreed preprocess" \
      org.opencontainers.image.description="Batch jobs that fetch, crop and shard the Stanford Dogs images" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:0
CMD ["jobs.preprocess", "--help"]

FROM ${DEVICE}-packages AS train
COPY docker/requirements-search.lock /tmp/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false \
    python -m pip install --no-cache-dir --disable-pip-version-check \
      --no-deps --require-hashes -r /tmp/requirements-search.lock
COPY jobs /app/jobs
COPY dogbreed /app/dogbreed
RUN chmod -R a+rX /app  # a checkout under umask 077 or 027; Kubernetes runs it with a group of its own
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dogbreed train" \
      org.opencontainers.image.description="Batch jobs that train and evaluate Keras models of dog breeds" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:0
CMD ["jobs.train", "--help"]
