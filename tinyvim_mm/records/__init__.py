"""What a training leaves behind, and what is read from it."""
