"""quorum: decisions among N nodes of which up to T may crash or lie.

The public names are loaded on first use, so that `import quorum` stays cheap.
"""

from __future__ import annotations

__version__ = "0.1.0"
