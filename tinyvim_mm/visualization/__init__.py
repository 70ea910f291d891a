"""Pictures: loss curves and sheets of predictions beside ground truth."""
