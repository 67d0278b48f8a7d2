# Celery workers with the launcher, beat, and the MLflow server: everything that is heavy.
# TORCH_INDEX names the index of the wanted build of torch (CPU, or one of CUDA); without it pip takes its default.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX=""
WORKDIR /src
RUN python -m venv /opt/tuneyard
COPY requirements ./requirements
# torch first and alone: the locks leave it out, so that it is taken once, in the build that was asked for.
RUN /opt/tuneyard/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r requirements/torch.txt
RUN /opt/tuneyard/bin/pip install --no-cache-dir --no-deps -r requirements/worker.lock

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data tuneyard \
    && install -d -o tuneyard -g tuneyard /data
COPY --from=build /opt/tuneyard /opt/tuneyard
COPY manage.py /app/
COPY platform /app/platform
COPY apps /app/apps
COPY workers /app/workers
# Compiled here: its user may not write beside it.
RUN /opt/tuneyard/bin/python -m compileall -q /app
ENV PATH=/opt/tuneyard/bin:$PATH \
    PYTHONPATH=/app:/app/platform \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=tuneyard.settings \
    TUNEYARD_HOME=/data \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
    DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true \
    HF_HUB_DISABLE_TELEMETRY=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /app
USER tuneyard
VOLUME /data
# One process tree in one container: a worker adopts a training by its process id, so launcher and workers must see the
# same processes. The supervisor restarts what dies, reaps orphans, and stops trainings with a checkpoint.
CMD ["python", "-m", "tuneyard.supervisor", "--only", "launcher,work-cpu,work-gpu,work-serve,beat"]
