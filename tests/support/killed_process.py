"""A process that is killed as the kernel does when memory is exhausted."""

import os
import signal

os.kill(os.getpid(), signal.SIGKILL)
