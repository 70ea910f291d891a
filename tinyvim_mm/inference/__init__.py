"""Predictions on pictures, folders and videos."""
