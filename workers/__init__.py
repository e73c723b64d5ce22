"""The Celery worker: engine, batcher, progress, checkpoints and metrics."""
