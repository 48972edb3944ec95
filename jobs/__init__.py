"""The batch jobs. A SIGTERM that comes before a job listens for it must end the process too."""

import os
import signal

# As a container's first process Python ignores SIGTERM unless it has a handler, and imports take a second.
signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
