"""`mlflow models serve` with the model as the platform publishes it, two workers."""

import os
import sys
from pathlib import Path

import mlflow

if __name__ == "__main__":
    bundle, port, scratch, code = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    text = mlflow.types.ColSpec("string", "text")
    signature = mlflow.models.ModelSignature(inputs=mlflow.types.Schema([text]))
    mlflow.pyfunc.save_model(
        str(scratch / "model"),
        python_model=code,
        artifacts={"bundle": bundle},
        signature=signature,
        pip_requirements=["mlflow"],
    )
    command = ["models", "serve", "--model-uri", str(scratch / "model"), "--env-manager", "local"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.execv(
        Path(sys.executable).parent / "mlflow",
        ["mlflow", *command, "--host", "127.0.0.1", "--port", port, "--workers", "2"],
    )
