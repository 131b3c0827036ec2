"""Search, confirm and import learning-rate rules for medical image classifiers."""
