"""`python -m proxy` is `mcp-proxy`."""

import sys

from proxy.cli import main

sys.exit(main())
