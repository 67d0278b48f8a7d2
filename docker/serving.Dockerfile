# The serving host: agent, front and runners. No torch, no Django.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv /opt/tuneyard
COPY requirements ./requirements
RUN /opt/tuneyard/bin/pip install --no-cache-dir --no-deps -r requirements/serve.lock

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data tuneyard \
    && install -d -o tuneyard -g tuneyard /data
COPY --from=build /opt/tuneyard /opt/tuneyard
COPY platform/modelkit /app/platform/modelkit
# Compiled here: its user may not write beside it.
RUN /opt/tuneyard/bin/python -m compileall -q /app
ENV PATH=/opt/tuneyard/bin:$PATH \
    PYTHONPATH=/app/platform \
    PYTHONUNBUFFERED=1 \
    TUNEYARD_HOME=/data \
    DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true \
    HF_HUB_DISABLE_TELEMETRY=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /app
USER tuneyard
VOLUME /data
EXPOSE 8701
CMD ["python", "-m", "modelkit.serving.agent", "--home", "/data", "--host", "0.0.0.0", "--port", "8701"]
