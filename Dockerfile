# everyframe in a small image: what a board needs to convert, inspect and run models; no torch, no compiler.
#
#   docker build -t everyframe .
#   docker run --rm everyframe demo --output /tmp/demo
#   docker run --rm -p 127.0.0.1:8000:8000 everyframe serve builtin --host 0.0.0.0      # prints the page's address, with its token
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" everyframe predict builtin video.mp4

FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY src ./src
# The lock constrains the build of the package too.
RUN python -m venv /opt/everyframe \
 && PIP_CONSTRAINT=requirements.lock PIP_BUILD_CONSTRAINT=requirements.lock \
    /opt/everyframe/bin/python -m pip install --no-cache-dir --no-compile -c requirements.lock ".[serve]" \
 && /opt/everyframe/bin/python -m pip uninstall -y pip

FROM python:3.12-slim
COPY --from=build /opt/everyframe /opt/everyframe
RUN useradd --create-home --uid 1000 everyframe && mkdir /work && chown everyframe:everyframe /work
# Any other user may run it too (--user), who has no home here.
ENV PATH=/opt/everyframe/bin:$PATH \
    EVERYFRAME_CACHE=/tmp/everyframe \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# by number, so that hosts that refuse root can tell
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["everyframe"]
CMD ["--help"]
