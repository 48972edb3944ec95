"""Figures in one style, readable as MLflow's thumbnails and at full size; one module per kind."""
