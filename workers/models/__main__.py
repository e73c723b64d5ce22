"""``python -m workers.models``: what ``sfumato models`` runs."""

import sys

from workers.models.cli import main

sys.exit(main(sys.argv[1:]))
