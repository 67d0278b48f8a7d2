"""Tuneyard's machine-learning library: knows neither Django nor Celery.

Files are *light* (standard library and pydantic; the web process may import them) or *heavy* (torch, transformers,
onnxruntime). A light file never imports a heavy one at module level.
"""
