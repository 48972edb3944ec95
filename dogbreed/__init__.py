"""Batch jobs from the Stanford Dogs archive to a reviewed Keras model in MLflow."""
