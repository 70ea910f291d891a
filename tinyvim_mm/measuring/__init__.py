"""Time and size of networks."""
