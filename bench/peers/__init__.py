"""Other systems that agree on a log, measured beside ours: the same load, the same machine, the same run."""
