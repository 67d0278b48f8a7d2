"""LitServe with the bundle's own predictor: batches of 16 as they come, two workers of one thread."""

import importlib.util
import sys

import litserve


class Intents(litserve.LitAPI):
    def setup(self, device):
        bundle = sys.argv[1]
        spec = importlib.util.spec_from_file_location("predictor", f"{bundle}/predictor.py")
        module = sys.modules["predictor"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.model = module.Predictor(bundle, threads=1)
        self.model.warmup()

    def decode_request(self, request):
        return request["input"]

    def batch(self, inputs):
        return list(inputs)

    def predict(self, texts):
        return self.model.predict(texts, scores=False)

    def unbatch(self, outputs):
        return list(outputs)

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    api = Intents(max_batch_size=16, batch_timeout=0.0)
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=2)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, log_level="error", generate_client_file=False
    )
