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
ENV PATH=/opt/tuneyard/bin:$PATH \
    PYTHONPATH=/app/platform \
    PYTHONUNBUFFERED=1 \
    TUNEYARD_HOME=/data
WORKDIR /app
USER tuneyard
VOLUME /data
EXPOSE 8701
CMD ["python", "-m", "modelkit.serving.agent", "--home", "/data", "--host", "0.0.0.0", "--port", "8701"]
