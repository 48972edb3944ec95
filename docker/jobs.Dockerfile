# The image of the jobs: `--target preprocess` (fetch, preprocess) or `--target train` (the others).
# Any base with Python 3.11, pip and TensorFlow 2.21 will do: the GPU runtime, its CPU tag, or your own.
ARG BASE_IMAGE=tensorflow/tensorflow:2.21.0-gpu

FROM ${BASE_IMAGE} AS packages
# The lock leaves TensorFlow out: the base brings its own, built for its CUDA. The environment lies over the base's
# packages and hides those of another version: pip cannot remove the ones that the GPU base has from apt.
# Optional build secrets for hosts behind a proxy or a mirror: `pip` is a pip.conf, `ca` a certificate that it may name.
COPY docker/requirements-jobs.lock /tmp/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false \
    python -m venv --system-site-packages --without-pip /opt/dogbreed \
 && /opt/dogbreed/bin/python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
      --no-deps --require-hashes -r /tmp/requirements-jobs.lock
ENV PATH=/opt/dogbreed/bin:$PATH
# Downloaded weights and compiled CUDA kernels (1 GiB by default) lie with the scratch files: /tmp is small, or memory.
# getpass.getuser() raises for a uid that is not in passwd unless USER is set; HOME must be writable by any uid.
ENV HOME=/tmp \
    USER=dogbreed \
    TMPDIR=/work \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    KERAS_HOME=/work/.keras \
    CUDA_CACHE_PATH=/work/.nv/ComputeCache \
    MPLCONFIGDIR=/tmp/matplotlib \
    MLFLOW_DISABLE_TELEMETRY=true
# Group 0 may write: whatever uid a cluster gives a container, its group is 0.
# The TensorFlow base leaves a shell start-up file that everybody may write.
RUN mkdir /work && chown 10001:0 /work && chmod 0770 /work \
 && if [ -e /etc/bash.bashrc ]; then chmod 0644 /etc/bash.bashrc; fi
WORKDIR /work
ENTRYPOINT ["python", "-m"]

FROM packages AS gpu-packages
# The GPU base ships cuDNN 8.9, TensorFlow opens cuDNN 9 and otherwise sees no GPU (tensorflow/build#221).
# The same line makes the libraries of a base with tensorflow[and-cuda] known. The check opens every library that
# TensorFlow opens, except the driver's, so that a base without one fails here and not on the cluster.
COPY docker/requirements-cudnn.lock docker/gpu_libraries.py /tmp/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt,required=false \
    if python /tmp/gpu_libraries.py is-cuda; then \
      python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --no-deps --require-hashes -r /tmp/requirements-cudnn.lock \
      && python /tmp/gpu_libraries.py folders > /etc/ld.so.conf.d/00-nvidia-wheels.conf \
      && ldconfig; \
    fi \
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

FROM gpu-packages AS train
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
