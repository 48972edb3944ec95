"""Pictures in one style, for MLflow's thumbnails and at full size; a module a kind."""
