"""MLServer with the bundle's own predictor: adaptive batching up to 16, two parallel workers."""

import importlib.util
import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Intents(MLModel):
    async def load(self) -> bool:
        bundle = self.settings.parameters.uri
        spec = importlib.util.spec_from_file_location("predictor", f"{bundle}/predictor.py")
        module = sys.modules["predictor"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.model = module.Predictor(bundle, threads=1)
        self.model.warmup()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        outputs = self.model.predict(StringCodec.decode_input(payload.inputs[0]), scores=False)
        labels = [output["label"] for output in outputs]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("label", labels)])


if __name__ == "__main__":
    bundle, port, scratch = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_endpoint": None,
        "parallel_workers": 2,
        "debug": False,
    }
    model = {
        "name": "intents",
        "implementation": "mlserver_app.Intents",
        "max_batch_size": 16,
        "max_batch_time": 0.002,
        "parameters": {"uri": bundle},
    }
    (scratch / "settings.json").write_text(json.dumps(settings))
    (scratch / "model-settings.json").write_text(json.dumps(model))
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    os.execv(Path(sys.executable).parent / "mlserver", ["mlserver", "start", str(scratch)])
