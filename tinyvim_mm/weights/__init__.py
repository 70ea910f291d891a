"""Reading, checking and loading of weights."""
