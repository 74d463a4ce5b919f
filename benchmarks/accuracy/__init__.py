"""Accuracy: every run behind the figures of the README, its log, its table and its pictures."""
