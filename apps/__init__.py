"""The Django apps. None of them imports torch, transformers, onnxruntime, mlflow or ray."""
