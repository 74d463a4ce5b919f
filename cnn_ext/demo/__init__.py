"""A page to draw a digit on, and to see what a network makes of it: `python -m cnn_ext.demo`."""
