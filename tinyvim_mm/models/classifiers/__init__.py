"""Whole classifiers for mmpretrain, and the teacher that they can learn from."""
