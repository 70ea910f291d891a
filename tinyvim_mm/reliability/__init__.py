"""Checks that anyone can repeat: what a training withstands, and what it repeats exactly."""
