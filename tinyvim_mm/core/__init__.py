"""What everything stands on: errors, paths, what is installed; loads no torch."""
