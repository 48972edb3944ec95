# Debian's Python under the names of the official image.
FROM dogbreed-stand-in:bookworm
LABEL dogbreed.stand-in="true"
RUN ln -s /usr/bin/python3 /usr/local/bin/python && rm /usr/lib/python3.11/EXTERNALLY-MANAGED
CMD ["python3"]
