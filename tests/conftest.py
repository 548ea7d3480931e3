"""What holds for every test, however it was started."""

import signal

# Whoever runs us under nohup, or in a worker of pytest-xdist, has these ignored, and what we start inherits that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
