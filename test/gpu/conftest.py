"""Where the GPU tests find what the suite has."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
