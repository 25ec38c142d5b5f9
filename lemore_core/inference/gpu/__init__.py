"""Inference on a GPU: everything between the camera image and the labels stays there."""
